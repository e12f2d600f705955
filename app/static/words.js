// What scripts say, in the language of the page: base.html carries the texts of the catalogue, by
// the English one. A text is extracted by `make strings` where it stands in _() or ngettext().
const page = document.querySelector("meta[name=words]");
const { texts = {}, forms = {} } = page ? JSON.parse(page.content) : {};
const language = document.documentElement.lang || "en";
const rule = new Intl.PluralRules(language);

const written = (value) => (typeof value === "number" ? value.toLocaleString(language) : value);
const filled = (text, values) => text.replace(/%(?:%|\((\w+)\)s)/g, (whole, name) => (name ? written(values[name]) : "%"));

/** `text`, with `%(name)s` filled in from `values`. */
export function _(text, values = {}) {
  return filled(texts[text] ?? text, values);
}

/** The form that goes with `num`, which is filled in for `%(num)s`. */
export function ngettext(one, many, num, values = {}) {
  const said = texts[one]?.[forms[rule.select(num)] ?? 0];
  return filled(said ?? (num === 1 ? one : many), { num, ...values });
}
