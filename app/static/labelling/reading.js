// One text as it stands on the page. Texts come from models and imports: what is not the server's
// own cleaned rendering goes in as textContent, never as markup.

function block() {
  const element = document.createElement("div");
  element.className = "reading";
  element.dir = "auto";
  return element;
}

/** The text as it is. */
export function raw(text) {
  const element = block();
  element.textContent = text;
  return element;
}

/** The server's rendering of it, where there is one. */
export function reading(text, html) {
  if (!html) return raw(text);
  const element = block();
  element.classList.add("rendered");
  element.append(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
  return element;
}

/** The text as it is, with the parts marked that differ from the other one. */
export function marked(parts) {
  const element = block();
  element.append(...parts.map(({ text, differs }) => {
    if (!differs) return text;
    const mark = document.createElement("mark");
    mark.textContent = text;
    return mark;
  }));
  return element;
}
