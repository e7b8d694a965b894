// Maps of every date: one variable, one date, two fields, one swiped over the other.
function dates() {
  for (const widget of all("[data-widget=dates]")) {
    const { dates: stamps, variables, views, pictures } = JSON.parse(widget.querySelector("script").textContent);
    const [variable, view, left, right] = ["variable", "view", "left", "right"].map((name) => widget.querySelector(`select.${name}`));
    const [date, swipe] = ["date", "swipe"].map((name) => widget.querySelector(`input.${name}`));
    const [over, under] = ["over", "under"].map((name) => widget.querySelector(`img.${name}`));
    const [pane, bar, stamp, note] = [".pane", ".bar", ".stamp", ".absence"].map((selector) => widget.querySelector(selector));
    const [tagLeft, tagRight] = all(".tag", widget);

    const put = (image, layer) => {
      const source = pictures[`${view.value}/${variable.value}/${date.value}/${layer.value}`];
      const name = layer.selectedOptions[0].textContent;
      image.alt = `${variables[variable.value].label}, ${name}, ${stamps[date.value]}, ${views[view.value]}.`;
      note.hidden = true;
      image.hidden = !source;
      if (source) image.src = source;
      else { note.textContent = `${name} does not hold ${variables[variable.value].label}.`; note.hidden = false; }
      return name;
    };
    const draw = () => {
      tagLeft.textContent = put(over, left);
      tagRight.textContent = put(under, right);
      stamp.textContent = stamps[date.value];
      date.setAttribute("aria-valuetext", stamps[date.value]);
      const shown = variables[variable.value].bars[view.value];
      bar.src = shown.src;
      bar.alt = shown.alt;
      part();
    };
    const part = () => {
      pane.style.setProperty("--part", `${swipe.value}%`);
      swipe.setAttribute("aria-valuetext", `${swipe.value} % ${tagLeft.textContent}, the rest ${tagRight.textContent}`);
    };
    const lacks = () => {
      note.textContent = `These maps lie in the folder figures/, which is not beside this page.`;
      note.hidden = false;
    };
    [over, under].forEach((image) => image.addEventListener("error", lacks));
    [variable, view, left, right].forEach((control) => control.addEventListener("change", draw));
    date.addEventListener("input", draw);
    swipe.addEventListener("input", part);
    widget.querySelector(".controls").hidden = false;
    swipe.hidden = false;
    draw();
  }
}
