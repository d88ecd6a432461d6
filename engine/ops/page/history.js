// What the server has said of itself lately, and what follows from it.

const remembered = 61; // answers, one a second
const windowSeconds = 10; // of a percentile

export class History {
  #answers = []; // the oldest first

  // add takes an answer of /v1/stats. It returns false if the server has begun anew since
  // the one before: then its counts have, too.
  add(stats) {
    const before = this.#answers.at(-1);
    const same = !before || (stats.uptime_seconds >= before.uptime_seconds && stats.node === before.node);
    if (!same) this.#answers = [];
    this.#answers.push(stats);
    if (this.#answers.length > remembered) this.#answers.shift();
    return same;
  }

  get now() { return this.#answers.at(-1); }

  // rate is how fast a count grows, in a second; null where that is not known yet.
  rate(count) {
    const before = this.#answers.at(-2);
    const seconds = before ? this.now.uptime_seconds - before.uptime_seconds : 0;
    return seconds > 0 ? Math.max(count(this.now) - count(before), 0) / seconds : null;
  }

  // lastMinute is how much a count has grown in the last minute, or since this page is open.
  lastMinute(count) {
    const from = this.#since(60);
    return Math.max(count(this.now) - count(from), 0);
  }

  // percentile is an estimate of the delays of the last ten seconds, by the histogram of
  // that name: null where there were none, or nothing is known but sums since the start.
  percentile(name, share) {
    const from = this.#since(windowSeconds);
    const counts = this.now[name].counts.map((n, i) => n - from[name].counts[i]);
    return quantile(counts, this.now.delay_bounds_seconds, share);
  }

  #since(seconds) {
    return this.#answers.find((answer) => this.now.uptime_seconds - answer.uptime_seconds <= seconds) ?? this.now;
  }
}

// quantile is the delay that share of the delays are up to. Inside a bucket they are taken
// as evenly spread. Above the last bound it is that bound.
export function quantile(counts, bounds, share) {
  const all = counts.reduce((sum, n) => sum + n, 0);
  if (all <= 0) return null;
  let rank = share * all;
  for (let i = 0; i < bounds.length; i++) {
    if (rank <= counts[i]) {
      const low = i ? bounds[i - 1] : 0;
      return low + (bounds[i] - low) * (rank / counts[i]);
    }
    rank -= counts[i];
  }
  return bounds.at(-1);
}
