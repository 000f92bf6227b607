"use strict";
// Sorting, filtering and the samples. Text of models is set with textContent alone, never parsed.

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) put(made, text);
  return made;
}

// Controls, bidirectional overrides, zero-width and blank characters: written out, and marked.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0]/u;

function put(parent, text) {
  let plain = "";
  const flush = () => {
    if (plain) parent.append(document.createTextNode(plain));
    plain = "";
  };
  for (const character of String(text)) {
    if (character === "\n" || character === "\t" || !HIDDEN.test(character)) {
      plain += character;
      continue;
    }
    flush();
    const code = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    const mark = document.createElement("span");
    mark.className = "control";
    mark.title = "a character that is not seen";
    mark.textContent = "⟨U+" + code + "⟩";
    parent.append(mark);
  }
  flush();
  return parent;
}

// ---- tables

function sortable(table) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = element("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    const numeric = head.dataset.kind === "number";
    // The largest number is what one looks for, and the first name.
    const order = numeric ? ["descending", "ascending", "none"] : ["ascending", "descending", "none"];
    button.addEventListener("click", () => {
      const next = order[(order.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", next);
      body.append(...sorted(original, column, numeric, next));
    });
  });
}

function sorted(rows, column, numeric, direction) {
  if (direction === "none") return rows;
  const sign = direction === "ascending" ? 1 : -1;
  const key = (row) => row.cells[column].dataset.value;
  return [...rows].sort((one, two) => {
    const [a, b] = [key(one), key(two)];
    if (!numeric) return sign * a.localeCompare(b, "en");
    // A dash is no number: last, whichever way.
    if (a === "" || b === "") return (a === "") - (b === "");
    return sign * (Number(a) - Number(b));
  });
}

function filterable(sheet) {
  const tools = sheet.querySelector(".tools");
  const rows = [...sheet.querySelector("tbody").rows];
  const input = tools.querySelector("input");
  const count = tools.querySelector(".count");
  tools.hidden = rows.length < 4;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = (row.cells[0].textContent + " " + row.cells[1].textContent).toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  });
}

document.querySelectorAll("table.data").forEach(sortable);
document.querySelectorAll(".sheet").forEach(filterable);

// ---- samples

const VERDICTS = {
  right: ["✓", "right"],
  wrong: ["✗", "wrong"],
  partly: ["◐", "partly right"],
  unscored: ["?", "not scored"],
};
const [NUMBER, VERDICT, SCORE, ANSWER, REASON, METHOD, TOKENS, TRUNCATED, TEXT] = [0, 1, 2, 3, 4, 5, 6, 7, 8];

function longText(parts) {
  const made = element("pre", "", parts[0]);
  if (parts.length > 1) {
    made.append(element("span", "cut", `\n… ${parts[1].toLocaleString("en")} characters left out …\n`));
    put(made, parts[2]);
  }
  return made;
}

function pair(list, term, value) {
  const row = element("div");
  row.append(element("dt", "", term), element("dd", "", value));
  list.append(row);
}

function card(sample) {
  const made = element("div", "sample " + sample[VERDICT]);
  const [icon, word] = VERDICTS[sample[VERDICT]];
  const line = element("p", "line");
  const badge = element("span", "badge");
  const sign = element("span", "icon", icon);
  sign.setAttribute("aria-hidden", "true");
  badge.append(sign, document.createTextNode(" " + word));
  line.append(badge);
  if (sample[VERDICT] === "partly") line.append(element("span", "score", `score ${sample[SCORE]}`));
  if (sample[TRUNCATED]) line.append(element("span", "tag", "truncated"));
  if (sample[TOKENS] !== null) line.append(element("span", "length", `${sample[TOKENS]} tokens`));
  const facts = element("dl");
  pair(facts, "Answer", sample[ANSWER] === null ? "none found" : sample[ANSWER]);
  if (sample[REASON]) pair(facts, "Reason", sample[REASON]);
  if (sample[METHOD]) pair(facts, "Method", sample[METHOD]);
  made.append(line, facts, longText(sample[TEXT]));
  return made;
}

function browser(tasks) {
  const find = (id) => document.getElementById(id);
  const [taskBox, problemBox] = [find("task"), find("problem")];
  let task, shown;

  tasks.forEach((found, place) => {
    const option = element("option", "", found.task);
    option.value = String(place);
    taskBox.append(option);
  });

  function pickTask() {
    task = tasks[Number(taskBox.value)];
    shown = new Set(task.first);
    problemBox.replaceChildren(
      ...task.examples.map((example, place) => {
        const option = element("option", "", `${example.problem} (${example.why})`);
        option.value = String(place);
        return option;
      }),
    );
    draw();
  }

  function move(by) {
    const last = task.examples.length - 1;
    problemBox.value = String(Math.min(Math.max(Number(problemBox.value) + by, 0), last));
    draw();
  }

  function draw() {
    const place = Number(problemBox.value);
    const example = task.examples[place];
    find("place").textContent = `${place + 1} of ${task.examples.length}`;
    find("previous").disabled = place === 0;
    find("next").disabled = place === task.examples.length - 1;
    question(example);
    chips(example);
    grid(example);
  }

  function question(example) {
    const box = find("question");
    const facts = element("dl", "facts");
    pair(facts, "Problem", example.problem);
    pair(facts, "Chosen because", example.why);
    if (example.answers.length) pair(facts, "Reference answer", example.answers.join(" · "));
    example.facts.forEach(([term, value]) => pair(facts, term, value));
    const asked = example.prompt.map(([role, parts]) => {
      const made = element("div", "prompt");
      made.append(element("p", "role", role), longText(parts));
      return made;
    });
    if (!asked.length) asked.push(element("p", "hint", "The records of this run do not hold the prompt."));
    box.replaceChildren(facts, ...asked);
  }

  function chips(example) {
    find("chips").replaceChildren(
      ...task.labels.map((label, place) => {
        const samples = example.columns[place];
        const right = samples.filter((sample) => sample[VERDICT] === "right").length;
        const chip = element("button", "chip", label);
        chip.type = "button";
        chip.append(element("span", "share", `${right}/${samples.length}`));
        chip.setAttribute("aria-pressed", String(shown.has(place)));
        chip.addEventListener("click", () => {
          if (shown.has(place)) shown.delete(place);
          else shown.add(place);
          chip.setAttribute("aria-pressed", String(shown.has(place)));
          grid(example);
        });
        return chip;
      }),
    );
  }

  function grid(example) {
    const places = [...task.labels.keys()].filter((place) => shown.has(place));
    const table = element("table", "grid");
    const head = table.createTHead().insertRow();
    const corner = element("th", "", "#");
    corner.scope = "col";
    head.append(corner);
    for (const place of places) {
      const title = element("th", "", task.labels[place]);
      title.scope = "col";
      title.append(element("span", "note", `seed ${task.seeds[place]}`));
      head.append(title);
    }
    const body = table.createTBody();
    const rows = Math.max(0, ...places.map((place) => example.columns[place].length));
    for (let row = 0; row < rows; row++) {
      const line = body.insertRow();
      const number = element("th", "", String(row + 1));
      number.scope = "row";
      line.append(number);
      for (const place of places) {
        const cell = line.insertCell();
        const sample = example.columns[place][row];
        cell.append(sample ? card(sample) : element("p", "hint", "no such rollout"));
      }
    }
    find("grid").replaceChildren(places.length ? table : element("p", "hint", "Nothing is shown."));
    // What scrolls must be reachable by keyboard, and nothing else need be.
    for (const text of find("samples").querySelectorAll("pre")) {
      if (text.scrollHeight > text.clientHeight) text.tabIndex = 0;
    }
  }

  taskBox.addEventListener("change", pickTask);
  problemBox.addEventListener("change", draw);
  find("previous").addEventListener("click", () => move(-1));
  find("next").addEventListener("click", () => move(1));
  find("all").addEventListener("click", () => {
    shown = new Set(task.labels.keys());
    draw();
  });
  find("few").addEventListener("click", () => {
    shown = new Set(task.first);
    draw();
  });
  find("browser").hidden = false;
  pickTask();
}

const data = document.getElementById("data");
const tasks = data ? JSON.parse(data.textContent).filter((task) => task.examples.length) : [];
if (tasks.length) browser(tasks);

// ---- print: what is folded is opened for paper, and folded again

let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  folded.forEach((details) => (details.open = true));
});
addEventListener("afterprint", () => folded.forEach((details) => (details.open = false)));
