// The project's further questions: what is said to them, and the way through them by keys. A digit
// is the option of that number, and leads on to the next question.
const groups = [...document.querySelectorAll("[data-question]")];
const inputs = (group) => [...group.querySelectorAll("input")];
const area = (group) => group.querySelector("textarea");

export const any = groups.length > 0;

function value(group) {
  const picked = inputs(group).filter((input) => input.checked).map((input) => input.value);
  if (group.dataset.kind === "multi") return picked.length ? picked : null;
  if (group.dataset.kind === "rating") return picked.length ? Number(picked[0]) : null;
  return (group.dataset.kind === "text" ? area(group).value.trim() : picked[0]) || null;
}

/** What was said, by the names of the questions. */
export function read() {
  return Object.fromEntries(groups.map((group) => [group.dataset.question, value(group)]).filter(([, said]) => said !== null));
}

/** Empty, or with what was said before. */
export function fill(answers = {}) {
  for (const group of groups) {
    const said = [answers[group.dataset.question] ?? []].flat().map(String);
    for (const input of inputs(group)) input.checked = said.includes(input.value);
    if (area(group)) area(group).value = said[0] ?? "";
  }
}

/** The first question that has to be answered and is not. */
export const missing = () => groups.find((group) => group.dataset.required && value(group) === null);
export const title = (group) => group.dataset.title;
export const first = () => groups[0] ?? null;

/** Into a question: to what is chosen in it, else to its first option. */
export function enter(group) {
  (area(group) ?? inputs(group).find((input) => input.checked) ?? inputs(group)[0]).focus();
}

/** A key pressed inside a question; whether it was one of ours. `through` is called behind the last. */
export function key(event, through) {
  const group = event.target.closest("[data-question]");
  if (!group || area(group) || event.ctrlKey || event.metaKey || event.altKey) return false;
  const on = () => {
    const next = groups[groups.indexOf(group) + 1];
    if (next) enter(next); else through();
  };
  if (event.key === "Enter") on();
  else if (/^[0-9]$/.test(event.key)) {
    const input = inputs(group)[event.key === "0" ? 9 : Number(event.key) - 1];
    if (!input || event.repeat) return true; // a digit in here never chooses a side
    input.focus();
    if (input.type === "checkbox") input.checked = !input.checked;
    else { input.checked = true; on(); }
  } else return false;
  return true;
}
