// Terminal output as DOM nodes. The text is hostile: it becomes text nodes and our own class names, nothing else.
import { AnsiUp } from "../vendor/ansi_up/ansi_up.js";

// Control characters and those that turn the direction of writing could make a line look like another one.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
const LONGEST = 20000;
const STYLES = ["bold", "faint", "italic", "underline"];

// ansi_up splits the text into pieces; the HTML that it would write is never made.
class Splitter extends AnsiUp {
  pieces = [];

  transform_to_html(fragment) {
    if (fragment.text) this.pieces.push(fragment);
    return "";
  }

  // A terminal's hyperlink (OSC 8): its text stays, where it leads does not.
  process_hyperlink(packet) {
    return this.transform_to_html(this.with_state(packet));
  }

  split(line) {
    this.pieces = [];
    this.ansi_to_html(line);
    // An unfinished sequence would hold back all that follows; at the line's end it is only text.
    while (this._buffer) {
      this._buffer = this._buffer.slice(1);
      this.ansi_to_html("");
    }
    return this.pieces;
  }
}

function classes(piece) {
  const found = STYLES.filter(style => piece[style]).map(style => `ansi-${style}`);
  if (piece.fg && piece.fg.class_name !== "truecolor") found.push(piece.fg.class_name);
  return found.join(" ");
}

export class AnsiLines {
  #splitter = new Splitter();

  // One line, without its newline, as nodes.
  nodes(line) {
    const cut =
      line.length > LONGEST
        ? `${line.slice(0, LONGEST)}… [${line.length - LONGEST} more characters are in the raw log]`
        : line;
    return this.#splitter.split(cut.replace(/\r+$/, "")).map(piece => {
      const text = document.createTextNode(piece.text.replace(UNSEEN, "\ufffd"));
      const names = classes(piece);
      if (!names) return text;
      const span = document.createElement("span");
      span.className = names;
      span.append(text);
      return span;
    });
  }
}
