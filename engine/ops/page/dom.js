// Changes to the document. Texts come in as text alone: nothing is parsed.

export const byId = (id) => document.getElementById(id);

// element makes one, with properties and children, which are elements or texts.
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// say sets an element's text if it is another one: so nothing is read aloud, and no
// selection is lost, for nothing.
export function say(at, text) {
  if (at.textContent !== text) at.textContent = text;
}

// keep makes the children of parent those of the list, in its order: each has a key, made
// by make once and changed by update each time.
export function keep(parent, list, keyOf, make, update) {
  const there = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of list) {
    const key = keyOf(item);
    let child = there.get(key);
    if (!child) {
      child = make(item);
      child.dataset.key = key;
    }
    there.delete(key);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update(child, item);
  }
  for (const old of there.values()) old.remove();
}

// row makes a row of a table for cells that are texts or elements. names are what the
// columns are called, for narrow screens where each cell is on a line of its own.
export function row(names, cells, numbers = []) {
  return element('tr', { role: 'row' }, ...cells.map((cell, i) => element('td', {
    role: 'cell', 'data-name': names[i], className: numbers.includes(i) ? 'number' : '',
  }, cell)));
}

// openDialog shows a dialog, and calls act when its form is sent. It closes when act is
// done, and shows what act throws.
export function setUpDialog(dialog, act, explain) {
  const form = dialog.querySelector('form');
  const error = dialog.querySelector('.error');
  const buttons = [...dialog.querySelectorAll('button')];
  dialog.querySelector('button[value=cancel]').addEventListener('click', () => dialog.close());
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    for (const button of buttons) button.disabled = true;
    say(error, '');
    try {
      await act();
      dialog.close('done');
    } catch (failure) {
      say(error, explain(failure));
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  });
  return () => {
    say(error, '');
    dialog.returnValue = '';
    dialog.showModal();
  };
}
