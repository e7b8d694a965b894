// The map of regions: colours of the score that is chosen, a region's number under the pointer or the focus, a click filters the tables.
function regions() {
  for (const widget of all("[data-widget=regions]")) {
    const told = JSON.parse(widget.querySelector("script").textContent);
    const [what, which] = ["what", "which"].map((name) => widget.querySelector(`select.${name}`));
    const [clear, words, legend] = [".clear", ".told", ".legend"].map((selector) => widget.querySelector(selector));
    const paths = all("path[data-region]", widget);
    const names = new Map([...which.options].map((option) => [option.value, option.textContent]));
    let at = 0;
    const ring = (name) => { // an outline above all regions: its neighbours would hide half of a region's own
      const drawn = document.createElementNS("http://www.w3.org/2000/svg", "path");
      drawn.setAttribute("class", name);
      widget.querySelector("svg").append(drawn);
      return (path) => drawn.setAttribute("d", path ? path.getAttribute("d") : "");
    };
    const [choice, focused] = [ring("chosen"), ring("focused")];

    const score = () => told[what.value];
    const sentence = (code) => `${names.get(code) ?? code}: ${score().regions[code]?.text ?? "not scored"}`;
    const say = (code) => { words.textContent = code ? sentence(code) : words.dataset.idle; };
    const paint = () => {
      for (const path of paths) {
        const code = path.dataset.region;
        path.setAttribute("fill", score().regions[code]?.fill ?? widget.dataset.missing);
        path.setAttribute("aria-label", sentence(code));
        path.setAttribute("aria-pressed", String(which.value === code));
      }
      choice(paths.find((path) => path.dataset.region === which.value));
      legend.replaceChildren(...score().legend.map(([fill, text]) => {
        const patch = made("i");
        patch.style.background = fill;
        return made("span", {}, patch, text);
      }));
    };
    const choose = (code) => document.dispatchEvent(new CustomEvent("orbit2:region", { detail: which.value === code ? "" : code }));
    document.addEventListener("orbit2:region", (event) => { // this map's own choice, or that of another task's map
      which.value = names.has(event.detail) ? event.detail : "";
      clear.hidden = !event.detail;
      paint();
      say(which.value);
    });
    const focus = (next) => {
      paths[at].setAttribute("tabindex", "-1");
      at = (next + paths.length) % paths.length;
      paths[at].setAttribute("tabindex", "0");
      paths[at].focus();
    };

    paths.forEach((path, i) => {
      path.setAttribute("tabindex", i ? "-1" : "0"); // one stop of the tab key; arrows go on from there
      path.setAttribute("role", "button");
      path.addEventListener("pointerenter", () => say(path.dataset.region));
      path.addEventListener("pointerleave", () => say(which.value));
      path.addEventListener("focus", () => {
        at = i;
        say(path.dataset.region);
        focused(path.matches(":focus-visible") ? path : null);
      });
      path.addEventListener("blur", () => focused(null));
      path.addEventListener("click", () => choose(path.dataset.region));
      path.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (step) focus(i + step);
        else if (event.key === "Enter" || event.key === " ") choose(path.dataset.region);
        else if (event.key === "Escape" && which.value) choose(which.value);
        else return;
        event.preventDefault();
      });
    });
    what.addEventListener("change", () => { paint(); say(which.value); });
    which.addEventListener("change", () => { const code = which.value; which.value = ""; choose(code); });
    clear.addEventListener("click", () => { choose(which.value); which.focus(); });
    widget.querySelector(".controls").hidden = false;
    paint();
  }
}
