import { isAbort } from "../api/client";

/** Requests under way at the same time. */
const MOST_REQUESTS = 2;

export interface Request {
  /** Equal keys are the same request. */
  key: string;
  run: (signal: AbortSignal) => Promise<void>;
}

/** Queue of the requests that the current view needs. Requests that it no longer needs are cancelled. */
export class RequestQueue {
  private readonly running = new Map<string, AbortController>();
  private waiting: Request[] = [];

  constructor(
    private readonly onError: (error: unknown) => void,
    private readonly onChange: (busy: boolean) => void,
  ) {}

  /** Replace the queue by these requests, the most urgent first. */
  replace(requests: Request[]): void {
    const wanted = new Set(requests.map((request) => request.key));
    for (const [key, controller] of this.running) {
      if (!wanted.has(key)) {
        this.running.delete(key);
        controller.abort();
      }
    }
    this.waiting = requests.filter((request) => !this.running.has(request.key));
    this.next();
  }

  get busy(): boolean {
    return this.running.size > 0 || this.waiting.length > 0;
  }

  private next(): void {
    while (this.running.size < MOST_REQUESTS && this.waiting.length > 0) {
      this.start(this.waiting.shift() as Request);
    }
    this.onChange(this.busy);
  }

  private async start(request: Request): Promise<void> {
    const controller = new AbortController();
    this.running.set(request.key, controller);
    try {
      await request.run(controller.signal);
    } catch (error) {
      if (isAbort(error)) return;
      this.waiting = [];
      this.onError(error);
    } finally {
      if (this.running.get(request.key) === controller) {
        this.running.delete(request.key);
        this.next();
      }
    }
  }
}
