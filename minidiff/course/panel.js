// Controls over a picture. Native elements: labels, keyboard and screen readers work without our help.

// Each panel loads this file anew, so a count would give the same id to controls of two panels.
const unique = () => `minidiff-${Math.random().toString(36).slice(2)}`;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// JupyterLab takes arrow keys and Enter from whatever does not suppress its shortcuts.
const quiet = { "data-lm-suppress-shortcuts": "true" };

// A control's element; `changed(value)` is called with each new value, `set(value)` moves it from outside.
const kinds = {
  slider(spec, value, changed) {
    const id = unique();
    const shown = (x) => (spec.options ? spec.options[x] : Number(x).toFixed(spec.digits));
    const input = make("input", { type: "range", id, min: spec.min, max: spec.max, step: spec.step, ...quiet });
    const readout = make("output", { for: id });
    const set = (x) => {
      input.value = x;
      readout.textContent = shown(x);
      input.setAttribute("aria-valuetext", shown(x));
    };
    input.addEventListener(spec.slow ? "change" : "input", () => (set(input.value), changed(Number(input.value))));
    if (spec.slow) input.addEventListener("input", () => set(input.value));
    set(value);
    return { set, node: make("span", {}, make("label", { for: id }, spec.label), input, readout) };
  },
  menu(spec, value, changed) {
    const id = unique();
    const input = make("select", { id, ...quiet }, ...spec.options.map((text) => make("option", {}, text)));
    input.selectedIndex = value;
    input.addEventListener("change", () => changed(input.selectedIndex));
    return { node: make("span", {}, make("label", { for: id }, spec.label), input) };
  },
  text(spec, value, changed) {
    const id = unique();
    const input = make("input", { type: "text", id, value, ...quiet });
    input.addEventListener("change", () => changed(input.value));
    return { node: make("span", { class: "wide" }, make("label", { for: id }, spec.label), input) };
  },
  // A click chooses. By keyboard the arrows only look: Enter, Space or leaving the group chooses, since a bet is final
  // enough to open the answer.
  radio(spec, value, changed) {
    const name = unique();
    let [at, kept, pointing] = [value, value, false];
    const choose = () => at !== kept && changed((kept = at));
    const rows = spec.options.map((text, i) => {
      const input = make("input", { type: "radio", name, checked: i === value ? "" : null, ...quiet });
      input.addEventListener("change", () => ((at = i), pointing && choose()));
      return make("label", {}, input, " ", text);
    });
    const node = make("fieldset", {}, make("legend", {}, spec.label), ...rows);
    node.addEventListener("pointerdown", () => (pointing = true));
    node.addEventListener("keydown", (event) => {
      pointing = false;
      if (event.key === "Enter" || event.key === " ") setTimeout(choose); // Space checks first
    });
    node.addEventListener("focusout", (event) => !pointing && !node.contains(event.relatedTarget) && choose());
    return { node };
  },
};

// Buttons that move a slider by itself. The next picture is asked for when the last one has come.
function player(spec, slider, model, now, go) {
  let timer = null;
  const button = make("button", { type: "button", ...quiet });
  const look = () => {
    button.textContent = timer ? "⏸ Pause" : "▶ Play";
    button.title = timer ? "Pause" : `Play all ${spec.max + 1} pictures`;
  };
  const step = () => {
    const next = now() + 1;
    if (next > spec.max && !spec.repeat) return stop();
    const to = next > spec.max ? 0 : next;
    slider.set(to);
    go(to);
  };
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(step, spec.interval);
  };
  const stop = () => (clearTimeout(timer), (timer = null), look());
  const arrived = () => timer && wait();
  model.on("change:drawn", arrived);
  button.addEventListener("click", () => {
    if (timer) return stop();
    if (now() >= spec.max) slider.set(0), go(0);
    wait();
    look();
  });
  look();
  return { button, stop: () => (stop(), model.off("change:drawn", arrived)) };
}

function render({ model, el }) {
  const still = model.get("still");
  if (still) el.append(make("style", {}, `[data-still="${still}"] { display: none }`)); // while this lives
  const bar = make("div", { class: "controls" });
  const given = { ...model.get("values") };
  const nodes = {};
  let [playing, later] = [null, null];
  for (const spec of model.get("controls")) {
    const changed = (value) => {
      model.set("values", { ...model.get("values"), [spec.name]: value });
      model.save_changes();
      if (model.get("width")) later = later || setTimeout(() => el.classList.add("busy"), 400);
    };
    const one = (nodes[spec.name] = kinds[spec.kind](spec, given[spec.name], changed));
    if (spec.interval) {
      playing = player(spec, one, model, () => model.get("values")[spec.name], changed);
      bar.append(playing.button);
    }
    bar.append(one.node);
  }
  el.classList.add("minidiff-panel");
  el.append(bar);
  if (model.get("width")) {
    const image = make("img", { width: model.get("width"), alt: "" }); // its description is the caption below
    const caption = make("div", { role: "status" });
    let url = null;
    const draw = () => {
      if (url) URL.revokeObjectURL(url);
      url = URL.createObjectURL(new Blob([model.get("picture")], { type: "image/png" }));
      image.src = url;
    };
    const say = () => (caption.textContent = model.get("words"));
    model.on("change:picture", draw);
    model.on("change:words", say);
    model.on("change:drawn", () => {
      clearTimeout(later); // a picture that takes long fades until the next one is there
      later = null;
      el.classList.remove("busy");
    });
    draw();
    say();
    el.append(image, caption);
  }
  return () => playing && playing.stop();
}

export default { render };
