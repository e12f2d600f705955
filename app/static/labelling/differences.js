// Which words of two texts differ: what is left when their longest common sequence is taken out.
const MOST = 4_000_000; // cells of the table; beyond it only what both begin and end with is common

const segmenter = new Intl.Segmenter(undefined, { granularity: "word" });
const words = (text) => Array.from(segmenter.segment(text), (part) => part.segment);

/** [parts of a, parts of b], each {text, differs}, in order and complete. */
export function differences(a, b) {
  const one = words(a), other = words(b);
  const [kept, keptOther] = common(one, other);
  return [parts(one, kept), parts(other, keptOther)];
}

function common(a, b) {
  const kept = new Uint8Array(a.length), other = new Uint8Array(b.length);
  let start = 0, endA = a.length, endB = b.length;
  while (start < endA && start < endB && a[start] === b[start]) { kept[start] = other[start] = 1; start += 1; }
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) { endA -= 1; endB -= 1; kept[endA] = other[endB] = 1; }
  const rows = endA - start, columns = endB - start;
  if (rows * columns > MOST) return [kept, other];
  const table = new Uint16Array((rows + 1) * (columns + 1));
  const at = (i, j) => i * (columns + 1) + j;
  for (let i = rows - 1; i >= 0; i -= 1) {
    for (let j = columns - 1; j >= 0; j -= 1) {
      table[at(i, j)] = a[start + i] === b[start + j]
        ? table[at(i + 1, j + 1)] + 1
        : Math.max(table[at(i + 1, j)], table[at(i, j + 1)]);
    }
  }
  for (let i = 0, j = 0; i < rows && j < columns;) {
    if (a[start + i] === b[start + j]) { kept[start + i] = other[start + j] = 1; i += 1; j += 1; }
    else if (table[at(i + 1, j)] >= table[at(i, j + 1)]) i += 1;
    else j += 1;
  }
  return [kept, other];
}

// Space between two words that differ belongs to the mark; space alone is never marked.
function parts(tokens, kept) {
  const found = [];
  tokens.forEach((text, i) => {
    const last = found.at(-1);
    const differs = text.trim() ? !kept[i] : Boolean(last?.differs && tokens[i + 1]?.trim() && !kept[i + 1]);
    if (last && last.differs === differs) last.text += text;
    else found.push({ text, differs });
  });
  return found;
}
