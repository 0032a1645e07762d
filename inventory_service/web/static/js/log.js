// A log that grows: lines go in by blocks, a bounded number per frame; the oldest blocks go when there are too many.
import { AnsiLines } from "./ansi.js";

const BLOCK_LINES = 200,
  FRAME_LINES = 1500,
  MOST_BLOCKS = 250,
  NEAR_END = 30;
const STARS = / ?\*{3,}(?=(?:\u001b\[[\d;]*m)*\r?$)/;
const HEADING = /^(?:\u001b\[[\d;]*m)*(?:PLAY|TASK|RUNNING HANDLER|PLAY RECAP)\b/;

export class LogView {
  #box;
  #button;
  #lines = new AnsiLines();
  #waiting = [];
  #rest = "";
  #block = null;
  #inBlock = 0;
  #isScheduled = false;
  #top = 0;
  follows = true;
  dropped = 0;

  constructor(box, button) {
    this.#box = box;
    this.#button = button;
    box.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    button.hidden = false;
    button.addEventListener("click", () => this.follow(!this.follows));
  }

  append(text) {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    this.#waiting.push(...lines);
    this.#schedule();
  }

  end() {
    if (this.#rest) this.append("\n");
  }

  follow(wanted) {
    this.follows = wanted;
    this.#button.setAttribute("aria-pressed", String(wanted));
    if (wanted) this.#toEnd();
  }

  get isEmpty() {
    return !this.#block && !this.#waiting.length;
  }

  #schedule() {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    // A hidden page gets no frames; it still has to take in what arrives.
    document.hidden ? setTimeout(() => this.#write(), 200) : requestAnimationFrame(() => this.#write());
  }

  #write() {
    this.#isScheduled = false;
    for (const line of this.#waiting.splice(0, FRAME_LINES)) this.#add(line);
    if (this.follows) {
      this.#drop();
      this.#toEnd();
    }
    if (this.#waiting.length) this.#schedule();
  }

  #add(line) {
    if (!this.#block || this.#inBlock >= BLOCK_LINES) {
      this.#block = document.createElement("div");
      this.#block.className = "cb-log-block";
      this.#box.append(this.#block);
      this.#inBlock = 0;
    }
    // Ansible fills its headings up with stars; they say nothing and break on narrow pages.
    const isHeading = HEADING.test(line);
    const nodes = this.#lines.nodes(isHeading ? line.replace(STARS, "") : line);
    if (isHeading) {
      const heading = document.createElement("span");
      heading.className = "cb-log-heading";
      heading.append(...nodes);
      nodes.splice(0, nodes.length, heading);
    }
    this.#block.append(...nodes, "\n");
    this.#inBlock += 1;
  }

  #drop() {
    while (this.#box.childElementCount > MOST_BLOCKS) {
      this.#box.firstElementChild.remove();
      this.dropped += BLOCK_LINES;
    }
  }

  #toEnd() {
    this.#box.scrollTop = this.#box.scrollHeight;
    this.#top = this.#box.scrollTop;
  }

  // Scrolling up lets go; reaching the end takes hold again.
  #onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.#box;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR_END;
    if (this.follows && scrollTop < this.#top - 2 && !isAtEnd) this.follow(false);
    else if (!this.follows && isAtEnd) this.follow(true);
    this.#top = scrollTop;
  }
}
