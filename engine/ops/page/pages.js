// A list of the server that is shown in pages. It is read when somebody asks for it, never
// by itself: it may have a million entries.

import { byId, say } from './dom.js';
import { said } from './api.js';

export const pageSize = 50;
const requests = 3; // for one page: the server looks at a million entries for each

export class Pages {
  #names; #load; #show;
  #cursors = []; // of the pages before, the first one's is ''
  #cursor = '';
  #next = '';
  #number = 0;

  // names are the elements' ids. load gives the entries and the cursor behind them; show
  // shows them, and returns what they are called.
  constructor(names, load, show) {
    [this.#names, this.#load, this.#show] = [names, load, show];
    byId(names.next).addEventListener('click', () => this.#go([...this.#cursors, this.#cursor], this.#next));
    byId(names.back).addEventListener('click', () => this.#go(this.#cursors.slice(0, -1), this.#cursors.at(-1)));
  }

  first() { return this.#go([], ''); }

  async #go(before, cursor) {
    const number = ++this.#number;
    const found = byId(this.#names.found);
    say(found, 'Asking…');
    let all = [], next = cursor;
    try {
      for (let i = 0; i < requests && all.length < pageSize && (i === 0 || next); i++) {
        const page = await this.#load(next, pageSize - all.length);
        if (number !== this.#number) return; // somebody has asked for something else
        all = all.concat(page.entries);
        next = page.cursor;
      }
    } catch (error) {
      if (number === this.#number) say(found, said(error));
      return;
    }
    [this.#cursors, this.#cursor, this.#next] = [before, cursor, next];
    this.#show(all);
    byId(this.#names.table).hidden = all.length === 0;
    byId(this.#names.back).disabled = before.length === 0;
    byId(this.#names.next).disabled = !next;
    byId(this.#names.pages).hidden = before.length === 0 && !next;
    const at = new Date().toLocaleTimeString('en-GB');
    if (all.length === 0) say(found, next ? `None so far at ${at}; go on with the next.` : `None at ${at}.`);
    else if (before.length === 0 && !next) say(found, `${all.length} at ${at}.`);
    else say(found, `Page ${before.length + 1}, ${all.length} at ${at}; ${next ? 'there are more' : 'these are the last'}.`);
  }
}
