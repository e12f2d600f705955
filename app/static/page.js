// Small comforts; every page is whole without them.
import { _ } from "./words.js";

addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
      button.textContent = _("Copied");
    });
  }
  // A second click while the first is on its way would do the thing twice.
  for (const form of document.querySelectorAll("form[method=post]")) {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) event.preventDefault();
      form.dataset.sent = "yes";
    });
  }
  // Fields that only one choice needs: <div data-shown-when="source=imported">.
  for (const part of document.querySelectorAll("[data-shown-when]")) {
    const [name, values] = part.dataset.shownWhen.split("=");
    const inputs = [...document.getElementsByName(name)];
    const update = () => {
      const value = inputs.find((i) => i.type !== "radio" || i.checked)?.value;
      part.hidden = !values.split("|").includes(value);
    };
    for (const input of inputs) input.addEventListener("change", update);
    update();
  }
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});
