"""Mutations of all areas that have a module of their own for prove_rules.py."""

from __future__ import annotations

from coverage_mutations import RECORDING_OF_COVERAGE
from coverage_operation_mutations import COVERAGE_OPERATION_MUTATIONS
from coverage_state_mutations import COVERAGE_STATE_MUTATIONS
from extension_mutations import EXTENSION_MUTATIONS
from integrity_mutations import INTEGRITY_MUTATIONS
from ledger_mutations import LEDGER_MUTATIONS
from measure_audit_mutations import MEASURE_AUDIT_MUTATIONS
from measure_mutations import MEASURE_MUTATIONS
from reading_mutations import READING_MUTATIONS
from reconciliation_mutations import RECONCILIATION_MUTATIONS
from recording_mutations import RECORDING_MUTATIONS
from run_parameter_mutations import RUN_PARAMETER_MUTATIONS
from timeframe_mutations import TIMEFRAME_MUTATIONS

AREA_MUTATIONS = (
    *COVERAGE_STATE_MUTATIONS,
    *EXTENSION_MUTATIONS,
    *INTEGRITY_MUTATIONS,
    *LEDGER_MUTATIONS,
    *RECORDING_OF_COVERAGE,
    *COVERAGE_OPERATION_MUTATIONS,
    *RECORDING_MUTATIONS,
    *MEASURE_AUDIT_MUTATIONS,
    *MEASURE_MUTATIONS,
    *READING_MUTATIONS,
    *RECONCILIATION_MUTATIONS,
    *RUN_PARAMETER_MUTATIONS,
    *TIMEFRAME_MUTATIONS,
)
