// Keys of the practice page: the same as while labelling, and one to go on. It works without them.
import { foreign, names } from "./keys.js";

addEventListener("keydown", (event) => {
  if (foreign(event) || event.target.matches("input")) return;
  const found = names(event);
  const button = [...document.querySelectorAll("[data-key]")].find((one) => found.includes(one.dataset.key));
  const goes = button ?? (found[0] === "n" ? document.getElementById("go-on") : null);
  if (!goes) return;
  event.preventDefault();
  goes.click();
});

document.getElementById("told")?.focus(); // the answer is read out first
