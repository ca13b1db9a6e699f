// Blocks of cells as spreadsheets put them on the clipboard: tabs between cells, lines between rows, and quotes round
// what holds either (a quote within is doubled).

/** The rows of a text, each a list of texts; an end of line at the very end makes no further row. */
export function readTsv(text) {
  const rows = [[]];
  let cell = "";
  let place = 0;
  const source = text.replace(/\r\n?/g, "\n");
  while (place < source.length) {
    const character = source[place];
    if (character === '"' && cell === "" && isQuoted(source, place)) {
      [cell, place] = quoted(source, place + 1);
    } else if (character === "\t") {
      rows.at(-1).push(cell);
      cell = "";
      place += 1;
    } else if (character === "\n") {
      rows.at(-1).push(cell);
      cell = "";
      rows.push([]);
      place += 1;
    } else {
      cell += character;
      place += 1;
    }
  }
  if (cell !== "" || rows.at(-1).length) rows.at(-1).push(cell);
  if (!rows.at(-1).length) rows.pop();
  return rows;
}

/** Whether a quote opens a cell that a quote before a tab, a line's end or the end of the text closes. */
function isQuoted(source, start) {
  const [, end] = quoted(source, start + 1);
  return end > 0 && (end === source.length || source[end] === "\t" || source[end] === "\n");
}

function quoted(source, start) {
  let cell = "";
  let place = start;
  while (place < source.length) {
    if (source[place] !== '"') cell += source[place++];
    else if (source[place + 1] === '"') {
      cell += '"';
      place += 2;
    } else return [cell, place + 1];
  }
  return [cell, -1];
}

/** The text of rows of cells. */
export function writeTsv(rows) {
  const write = (cell) => (/[\t\n\r]|^"/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return rows.map((row) => row.map(write).join("\t")).join("\n");
}
