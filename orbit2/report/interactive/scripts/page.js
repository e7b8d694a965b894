// What every page has: which section is being read, light and dark, figures enlarged. Everything works with the keyboard.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const made = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};

function contents() {
  const links = new Map(all("nav.toc a").map((link) => [link.hash.slice(1), link]));
  const shown = new Set();
  const mark = () => {
    const first = [...links.keys()].find((id) => shown.has(id));
    if (first === undefined) return; // between two sections: the last one stays
    for (const [id, link] of links) {
      if (id === first) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) shown[entry.isIntersecting ? "add" : "delete"](entry.target.id);
    mark();
  }, { rootMargin: "-12% 0px -70% 0px" });
  all("main section[id]").forEach((section) => watcher.observe(section));
}

function theme() {
  const button = document.getElementById("theme");
  const names = { "": "as the system", light: "light", dark: "dark" };
  const order = Object.keys(names);
  const kept = (value) => { // a page opened from a disk may have no storage
    try {
      if (value === undefined) return localStorage.getItem("orbit2-theme") || "";
      localStorage.setItem("orbit2-theme", value);
    } catch { /* then it is forgotten */ }
    return value || "";
  };
  const show = (value) => {
    if (value) document.documentElement.dataset.theme = value;
    else delete document.documentElement.dataset.theme;
    button.textContent = `Colours: ${names[value]}`;
    button.value = value;
  };
  const first = kept();
  show(order.includes(first) ? first : "");
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = order[(order.indexOf(button.value) + 1) % order.length];
    kept(next);
    show(next);
  });
}

function enlarge() {
  const dialog = document.getElementById("enlarged");
  const [told, place] = [".told", ".place"].map((selector) => dialog.querySelector(selector));
  const image = made("img");
  told.before(image);
  const [back, on] = all("button[data-step]", dialog);
  let pictures = [];
  let at = 0;
  const show = (step) => {
    at = (at + step + pictures.length) % pictures.length;
    image.src = pictures[at].src;
    image.alt = pictures[at].alt;
    told.textContent = pictures[at].alt;
    place.textContent = pictures.length > 1 ? `${at + 1} of ${pictures.length}` : "";
    back.hidden = on.hidden = pictures.length < 2;
  };
  const open = (figure, picture) => {
    pictures = all(".panels img", figure);
    at = Math.max(0, pictures.indexOf(picture));
    show(0);
    dialog.showModal();
  };
  for (const figure of all("figure")) {
    const images = all(".panels img", figure);
    if (!images.length) continue;
    const button = made("button", { type: "button", className: "plain", textContent: "Enlarge" });
    button.setAttribute("aria-label", `Enlarge: ${figure.querySelector("figcaption b")?.textContent ?? "figure"}`);
    button.addEventListener("click", () => open(figure, images[0]));
    figure.querySelector(".files")?.prepend(button, " · ");
    for (const picture of images) picture.addEventListener("click", () => open(figure, picture));
  }
  back.addEventListener("click", () => show(-1));
  on.addEventListener("click", () => show(1));
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && pictures.length > 1) show(step);
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
}

function missing() { // a page that was sent without its folder says what it lacks
  const tell = (picture) => picture.classList.add("absent");
  for (const picture of all("main img")) {
    if (picture.complete && picture.getAttribute("src") && !picture.naturalWidth) tell(picture);
    picture.addEventListener("error", () => tell(picture));
    picture.addEventListener("load", () => picture.classList.remove("absent"));
  }
}
