"""Kinds of cases that load trade files: valid rows in every form, damaged bytes, odd values, odd paths."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import os
import random
import zipfile
from pathlib import Path

from hostile.case import Case, Site, chance
from hostile.trade_rows import (
    FIRST_SECOND,
    LAST_SECOND,
    Row,
    binance_line,
    choose_columns,
    kraken_lines,
    odd_row,
    refused_row,
    valid_row,
)

# fmt: off
ODD_PATHS = (
    "fifo", "folder.csv", "loop", "dangling.csv", "empty.csv", "one-byte", "\udcff\udcfe.csv", "unreadable.csv",
    "closed/a.csv", "", "-", "--", ".", "/", "~", "missing.csv", "x" * 300, "x/" * 3000, "/dev/zero",
    "/dev/null", "/dev/stdin", "/dev/full", "/proc/self/mem", "/proc/self/environ", "good.csv/x", "*.csv",
    "s3://bucket/key", "http://127.0.0.1/x", "good.csv\n", "\x1b[31m.csv", "good.csv", "./good.csv",
)
# fmt: on
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def load(*arguments: str) -> list[str]:
    return ["trades", "load", *arguments]


def csv_text(rng: random.Random, columns: list[str], rows: list[Row]) -> str:
    """Return rows as CSV, with the variations that the loader accepts: quotes, line ends, blank lines, padding."""
    text = io.StringIO(newline="")
    end = rng.choice(("\n", "\r\n"))
    writer = csv.writer(text, quoting=rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)), lineterminator=end)
    writer.writerow(columns)
    for row in rows:
        if chance(rng, 0.05):
            text.write(end)
        writer.writerow([row[name] for name in columns])
    result = text.getvalue()
    return result.rstrip("\r\n") if chance(rng, 0.2) else result


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def write_compressed(rng: random.Random, folder: Path, data: bytes) -> Path:
    """Write the bytes of a CSV file plain, as gzip or as zip."""
    name = rng.choice(("trades", "a b", "\u4ea4\u6613", "-x", "#1?%20", "x" * 200))
    form = rng.choice(("csv", "csv", "csv.gz", "zip"))
    if form == "csv":
        data = rng.choice((b"", b"\xef\xbb\xbf")) + data
    elif form == "csv.gz":
        # A gzip file may consist of several members.
        cut = rng.randrange(len(data) + 1)
        data = gzip.compress(data[:cut], mtime=0) + gzip.compress(data[cut:], mtime=0)
    else:
        data = zip_bytes({"trades.csv": data}, rng.choice(ZIP_METHODS))
    path = folder / f"{name}.{form}"
    path.write_bytes(data)
    return path


def zip_bytes(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return target.getvalue()


def valid_and_refused_rows(rng: random.Random, site: Site) -> Case:
    """Load rows whose fate is known: exactly the valid ones are loaded with --skip-refused, otherwise none."""
    columns = choose_columns(rng)
    refused = rng.choice((0, rng.randint(1, 30)))
    rows = [valid_row(rng, number) for number in range(rng.randint(1, 60))]
    valid = len(rows)
    rows += [refused_row(rng, 1000 + number, columns) for number in range(refused)]
    rng.shuffle(rows)
    path = write_compressed(rng, site.case, encode(csv_text(rng, columns, rows)))
    skips = chance(rng, 0.6)
    options = [option for option, given in (("--skip-refused", skips), ("--json", chance(rng, 0.5))) if given]
    succeeds = skips or not refused
    return Case(
        "valid and refused rows",
        [load(*options, str(path)), load("--skip-refused", str(path))] if succeeds else [load(*options, str(path))],
        codes=frozenset({0 if succeeds else 1}),
        new_rows=valid if succeeds else 0,
        note=f"{valid} valid rows, {refused} refused",
    )


def odd_values(rng: random.Random, site: Site) -> Case:
    """Load rows with odd values, whose fate is unknown."""
    columns = choose_columns(rng)
    rows = [(odd_row if chance(rng, 0.5) else valid_row)(rng, number) for number in range(rng.randint(1, 40))]
    path = write_compressed(rng, site.case, encode(csv_text(rng, columns, rows)))
    options = rng.choice(([], ["--skip-refused"], ["--skip-refused", "--json"]))
    return Case("odd values", [load(*options, str(path))], note=",".join(columns))


def odd_headers(rng: random.Random, site: Site) -> Case:
    """Load a file whose header has missing, repeated, renamed or odd names."""
    columns = choose_columns(rng)
    text = csv_text(rng, columns, [valid_row(rng, number) for number in range(3)])
    header, _, rest = text.partition("\n")
    names = header.strip().replace('"', "").split(",")
    change = rng.choice(("drop", "repeat", "rename", "case", "empty", "none", "odd", "order"))
    position = rng.randrange(len(names))
    if change == "drop":
        del names[position]
    elif change == "repeat":
        names.insert(position, rng.choice(names))
    elif change in ("rename", "odd"):
        names[position] = rng.choice(
            ("prise", "timestamp ", "\x1b[31m", "a\x00", "x" * 100_000, "line", "problem", "'", "--", "\ufeff", "id;")
        )
    elif change == "case":
        names = [name.upper() for name in names]
    elif change == "empty":
        names = [""] * len(names)
    elif change == "none":
        names, rest = rest.partition("\n")[0].split(","), rest.partition("\n")[2]
    else:
        rng.shuffle(names)
    path = site.case / "trades.csv"
    path.write_bytes(encode(",".join(names) + "\n" + rest))
    format = rng.choice(("generic", "generic", "binance", "kraken"))
    options = [] if format == "generic" else ["--format", format, "--symbol", "BTC-USD"]
    return Case("odd headers", [load(*options, str(path))], note=change)


def damaged_bytes(rng: random.Random, site: Site) -> Case:
    """Load a CSV file whose bytes were damaged before or after the compression."""
    columns = choose_columns(rng)
    data = encode(csv_text(rng, columns, [valid_row(rng, number) for number in range(rng.randint(1, 200))]))
    if chance(rng, 0.6):
        data, note = damage(rng, data), "text damaged"
    else:
        note = "file damaged"
    path = write_compressed(rng, site.case, data)
    if note == "file damaged":
        path.write_bytes(damage(rng, path.read_bytes()))
    if chance(rng, 0.1):
        renamed = path.with_suffix(rng.choice((".parquet", ".zip", ".gz", ".csv", "")))
        path = path.rename(renamed)
    options = rng.choice(([], ["--skip-refused"], ["--json"]))
    return Case("damaged bytes", [load(*options, str(path))], note=note)


def damage(rng: random.Random, data: bytes) -> bytes:  # noqa: PLR0911  # one return for each kind of damage
    """Return damaged bytes: cut, flipped, overwritten, repeated, or with inserted bytes that text does not contain."""
    change = rng.choice(("cut", "flip", "flip many", "zeros", "random", "insert", "repeat", "swap", "encoding"))
    position = rng.randrange(len(data) + 1)
    if change == "cut":
        return data[:position]
    if change.startswith("flip"):
        changed = bytearray(data or b"x")
        for _ in range(1 if change == "flip" else rng.randint(2, 100)):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if change in ("zeros", "random"):
        length = rng.choice((1, 16, 4096))
        filler = bytes(length) if change == "zeros" else rng.randbytes(length)
        return data[:position] + filler + data[position + length :]
    if change == "insert":
        odd = (
            b"\x00",
            b"\xff\xfe",
            b"\xed\xa0\x80",
            b'"',
            b"\r",
            b"\x1b[2J",
            b"\x1a",
            b"\xc3",
            b"\xef\xbb\xbf",
            b"\n" * 1000,
        )
        return data[:position] + rng.choice(odd) * rng.choice((1, 1, 50)) + data[position:]
    if change == "repeat":
        return data * rng.randint(2, 5)
    if change == "swap":
        return data[position:] + data[:position]
    try:
        return data.decode().encode(rng.choice(("utf-16", "utf-32", "utf-16-be", "latin-1")), "replace")
    except UnicodeDecodeError:
        return data[::-1]


def odd_archives(rng: random.Random, site: Site) -> Case:
    """Load archives with odd contents: no member, several, folders, archives in archives, encryption flags."""
    row = b"exchange,symbol,trade_id,timestamp,price,quantity\nacme,BTC-USD,1,1769947200000000,1,1\n"
    method = rng.choice(ZIP_METHODS)
    name, data = rng.choice(
        (
            ("empty.zip", zip_bytes({})),
            ("two.zip", zip_bytes({"a.csv": row, "b.csv": row}, method)),
            ("folder.zip", zip_bytes({"folder/": b"", "folder/a.csv": row}, method)),
            ("mac.zip", zip_bytes({"a.csv": row, "__MACOSX/._a.csv": b"x"}, method)),
            ("empty-member.zip", zip_bytes({"a.csv": b""}, method)),
            ("nested.zip", zip_bytes({"a.zip": zip_bytes({"a.csv": row})}, method)),
            ("gzip.zip", zip_bytes({"a.csv.gz": gzip.compress(row)}, method)),
            ("parent.zip", zip_bytes({"../../a.csv": row}, method)),
            ("odd-name.zip", zip_bytes({"\x1b[31m.csv": row}, method)),
            ("encrypted.zip", _with_flag(zip_bytes({"a.csv": row}, method))),
            ("empty.csv.gz", gzip.compress(b"")),
            ("twice.csv.gz", gzip.compress(gzip.compress(row))),
            ("trailing.csv.gz", gzip.compress(row) + b"garbage"),
            ("zeros.csv.gz", gzip.compress(row) + bytes(1000)),
            ("trades.csv.bz2", bz2.compress(row)),
            ("trades.csv.xz", lzma.compress(row)),
            ("method.zip", _with_method(zip_bytes({"a.csv": row}), rng.choice((1, 6, 9, 93, 99)))),
            ("member.zip", _damaged_member(rng, zip_bytes({"a.csv": row * 50}, method))),
        )
    )
    path = site.case / name
    path.write_bytes(data)
    return Case("odd archives", [load(str(path))], note=name)


def _with_flag(archive: bytes) -> bytes:
    """Return an archive whose member is flagged as encrypted."""
    changed = bytearray(archive)
    changed[6] |= 1
    changed[archive.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


def _with_method(archive: bytes, method: int) -> bytes:
    """Return an archive with another compression method."""
    changed = bytearray(archive)
    changed[8] = changed[archive.index(b"PK\x01\x02") + 10] = method
    return bytes(changed)


def _damaged_member(rng: random.Random, archive: bytes) -> bytes:
    """Return an archive with a damaged member and an intact directory."""
    changed = bytearray(archive)
    for _ in range(rng.randint(1, 20)):
        changed[rng.randrange(35, archive.index(b"PK\x01\x02"))] = rng.randrange(256)
    return bytes(changed)


def large_files(rng: random.Random, site: Site) -> Case:
    """Load files that decompress to many megabytes of useless text."""
    header = b"exchange,symbol,trade_id,timestamp,price,quantity\n"
    size = rng.randint(8, 40) * 2**20
    unit, note = rng.choice(
        (
            (b"\n", "blank lines"),
            (b"x", "one long line"),
            (b"x\n", "short bad lines"),
            (b'"\n', "unclosed quotes"),
            (b'"a","b"\n', "quoted bad lines"),
            (b",,,,,\n", "empty fields"),
            (b"a,b,c,d,e,f\n", "bad values"),
            (b",", "one line of commas"),
            (bytes(1), "zeros"),
            (b'acme,BTC-USD,1,1769947200000000,1,"' + b"1" * 200_000 + b'"\n', "long fields"),
            (b"acme,BTC-USD,1,1769947200000000,1,1\n", "one trade many times"),
        )
    )
    data = header + unit * (size // len(unit))
    path = site.case / rng.choice(("large.csv.gz", "large.zip"))
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else zip_bytes({"large.csv": data}))
    options = rng.choice(([], ["--skip-refused"], ["--skip-refused", "--json"]))
    return Case("large files", [load(*options, str(path))], note=f"{size / 2**20:.0f} MiB of {note}")


def odd_paths(rng: random.Random, site: Site) -> Case:
    """Load what is no trade file: folders, FIFOs, devices, links, odd names."""
    folder = site.case
    os.mkfifo(folder / "fifo")
    (folder / "folder.csv").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "dangling.csv").symlink_to("nothing")
    (folder / "empty.csv").touch()
    (folder / "one-byte").write_bytes(b"x")
    good = folder / "good.csv"
    good.write_bytes(
        encode(csv_text(rng, ["trade_id", "timestamp", "price", "quantity", "symbol", "exchange"], [valid_row(rng, 1)]))
    )
    os.link(good, os.fsencode(folder) + b"/\xff\xfe.csv")
    (folder / "unreadable.csv").write_bytes(good.read_bytes())
    (folder / "unreadable.csv").chmod(0)
    (folder / "closed").mkdir()
    (folder / "closed" / "a.csv").write_bytes(good.read_bytes())
    (folder / "closed").chmod(0)
    chosen = rng.sample(ODD_PATHS, rng.choice((1, 1, 2, 3)))
    return Case("odd paths", [load(*chosen)], restricted=True)


def dumps(rng: random.Random, site: Site) -> Case:
    """Load Binance and Kraken dumps, valid or with some odd lines."""
    format = rng.choice(("binance", "kraken"))
    count = rng.randint(1, 60)
    lines = kraken_lines(rng, count) if format == "kraken" else [binance_line(rng, number) for number in range(count)]
    for _ in range(rng.choice((0, 0, 1, 5))):
        position = rng.randrange(len(lines))
        fields = lines[position].split(",")
        fields[rng.randrange(len(fields))] = rng.choice(
            ("", "x", "-1", "1e9", "99999999999999999999", "\u0663", "\x1b[1m", '"')
        )
        lines[position] = ",".join(fields)
    path = write_compressed(rng, site.case, encode("".join(f"{line}\n" for line in lines)))
    options = [
        "--format",
        format,
        *rng.choice(([], ["--symbol", "BTC-USD"], ["--symbol", "BTC-USD", "--exchange", "x"])),
    ]
    return Case("dumps", [load(*options, *rng.choice(([], ["--skip-refused"])), str(path))], note=format)


def kraken_parts(rng: random.Random, site: Site) -> Case:
    """Load a Kraken dump in overlapping parts and in any order, then completely: each trade is loaded once.

    A part is refused if it may repeat the trades at the edge of another one. Between earlier and later trades the
    complete dump has no edge, so it is never refused.
    """
    lines = kraken_lines(rng, rng.randint(5, 80))
    instants = list(dict.fromkeys(line.partition(",")[0] for line in lines))
    cuts = sorted(rng.sample(range(len(instants) + 1), min(rng.randint(0, 3), len(instants))))
    parts = []
    for begin, end in zip([0, *cuts], [*cuts, len(instants)], strict=True):
        chosen = set(instants[max(0, begin - rng.randint(0, 3)) : end + rng.randint(0, 3)])
        parts.append([line for line in lines if line.partition(",")[0] in chosen])
    if chance(rng, 0.3):
        parts.append(lines)
    rng.shuffle(parts)
    for part in parts:
        if chance(rng, 0.3):
            rng.shuffle(part)
    paths = []
    for number, part in enumerate(part for part in parts if part):
        path = site.case / f"part-{number}.csv"
        path.write_text("".join(f"{line}\n" for line in part))
        paths.append(str(path))
    options = ["--format", "kraken", "--symbol", "BTC-USD"]
    together = chance(rng, 0.3)
    commands = [load(*options, *paths)] if together else [load(*options, path) for path in paths]
    complete = site.case / "complete.csv"
    complete.write_text("".join(f"{line}\n" for line in (f"{FIRST_SECOND - 1},1,1", *lines, f"{LAST_SECOND},1,1")))
    return Case(
        "Kraken parts",
        [*commands, load(*options, str(complete))],
        codes=frozenset({0, 2}),
        completes=True,
        new_rows=len(lines) + 2,
        note=f"{len(paths)} parts",
    )
