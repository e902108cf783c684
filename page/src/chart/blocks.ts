import type { Candle } from "../api/types";
import { toSeconds } from "../shared/times";
import { blockOf, type View } from "./frame";

/** Blocks in memory: some 60,000 candles. */
const MOST_BLOCKS = 60;

interface Block {
  /** Revision of the table when the block was read. */
  revision: number;
  candles: Map<number, Candle>;
}

/** Candles of one series in one timeframe, in blocks of consecutive windows. The least recently used block goes first. */
export class BlockCache {
  private readonly blocks = new Map<number, Block>();
  private revision = 0;

  constructor(readonly step: number) {}

  /** Mark all blocks as outdated. They are still drawn until their newer version is there. */
  expire(): void {
    this.revision += 1;
  }

  has(block: number): boolean {
    return this.blocks.get(block)?.revision === this.revision;
  }

  /** Store the candles of a range of whole blocks. Blocks without candles are stored, too. */
  put(range: View, candles: Candle[]): void {
    const fresh = new Map<number, Block>();
    for (let block = blockOf(range.from, this.step); block < blockOf(range.to, this.step); block += 1) {
      fresh.set(block, { revision: this.revision, candles: new Map() });
    }
    for (const candle of candles) {
      const time = toSeconds(candle.window_start);
      fresh.get(blockOf(time, this.step))?.candles.set(time, candle);
    }
    for (const [number, block] of fresh) {
      this.blocks.delete(number);
      this.blocks.set(number, block);
    }
    for (const number of this.blocks.keys()) {
      if (this.blocks.size <= MOST_BLOCKS) break;
      this.blocks.delete(number);
    }
  }

  get(time: number): Candle | undefined {
    return this.blocks.get(blockOf(time, this.step))?.candles.get(time);
  }

  /** Mark the blocks of a view as used. */
  touch(view: View): void {
    const last = blockOf(view.to, this.step);
    for (let number = blockOf(view.from, this.step); number <= last; number += 1) {
      const block = this.blocks.get(number);
      if (block) {
        this.blocks.delete(number);
        this.blocks.set(number, block);
      }
    }
  }
}
