// Truth, mean, some members and their spread: one variable, one date.
function members() {
  for (const widget of all("[data-widget=members]")) {
    const { dates: stamps, variables, layers, pictures } = JSON.parse(widget.querySelector("script").textContent);
    const [variable, date] = [widget.querySelector("select.variable"), widget.querySelector("input.date")];
    const [stamp, note] = [".stamp", ".absence"].map((selector) => widget.querySelector(selector));
    const shots = all("img[data-layer]", widget);

    const draw = () => {
      const { label, bars } = variables[variable.value];
      note.hidden = true;
      for (const image of shots) {
        image.src = pictures[`${variable.value}/${date.value}/${image.dataset.layer}`];
        image.alt = `${label}, ${layers[image.dataset.layer]}, ${stamps[date.value]}.`;
      }
      for (const kind of ["field", "spread"]) {
        const bar = widget.querySelector(`img.bar.${kind}`);
        bar.src = bars[kind].src;
        bar.alt = bars[kind].alt;
      }
      stamp.textContent = stamps[date.value];
      date.setAttribute("aria-valuetext", stamps[date.value]);
    };
    const lacks = () => {
      note.textContent = "These maps lie in the folder figures/, which is not beside this page.";
      note.hidden = false;
    };
    shots.forEach((image) => image.addEventListener("error", lacks));
    variable.addEventListener("change", draw);
    date.addEventListener("input", draw);
    widget.querySelector(".controls").hidden = false;
    draw();
  }
}
