// Asks for the figures every second, while somebody can see them.

const interval = 1000; // milliseconds

// A Poll calls its functions: got with each answer, failed with each error. After an error
// that stops it, and while it is paused or the tab is hidden, it asks for nothing.
export class Poll {
  #ask; #got; #failed;
  #timer = 0;
  #running = 0; // the number of the request that counts
  #paused = false;
  #stopped = false;

  constructor(ask, got, failed) {
    [this.#ask, this.#got, this.#failed] = [ask, got, failed];
    document.addEventListener('visibilitychange', () => this.#again());
    this.#again();
  }

  set paused(paused) {
    this.#paused = paused;
    this.#again();
  }

  // stop ends it until start, as where a key is needed.
  stop() {
    this.#stopped = true;
    this.#again();
  }

  start() {
    this.#stopped = false;
    this.#again();
  }

  // #again begins anew, or ends: what is under way counts no more.
  #again() {
    clearTimeout(this.#timer);
    this.#running++;
    if (!this.#paused && !this.#stopped && !document.hidden) this.#once(this.#running);
  }

  async #once(number) {
    const began = performance.now();
    let answer, error;
    try {
      answer = await this.#ask();
    } catch (thrown) {
      error = thrown;
    }
    if (number !== this.#running) return;
    if (error) this.#failed(error);
    else this.#got(answer);
    if (number !== this.#running) return;
    this.#timer = setTimeout(() => this.#once(number), Math.max(interval - (performance.now() - began), 50));
  }
}
