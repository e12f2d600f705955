// Which key was pressed, as the list of keys writes it.

/** What a key press may be called, the likeliest first: "s", "?", "ArrowLeft", "Shift+1". */
export function names({ key, code, shiftKey }) {
  const plain = key.length === 1 ? key.toLowerCase() : key;
  if (!shiftKey) return [plain];
  // Behind shift a digit's key types a sign, and which one is the layout's to say
  const digit = /^Digit([0-9])$/.exec(code ?? "")?.[1];
  if (digit) return [plain, `Shift+${digit}`];
  return [`Shift+${plain}`, plain];
}

/** Text is typed here: no key does anything else. */
export const typing = (target) => target.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable=true]");

/** Keys that are not ours: a held key repeats, and one press is one answer. */
export const foreign = (event) => event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || typing(event.target);
