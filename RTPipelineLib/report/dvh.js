"use strict";
// The DVH plot: curves are hidden and shown by the legend, and read at a dose by pointer or keys.
document.querySelectorAll(".figure").forEach((figure) => {
  const svg = figure.querySelector("svg.dvh");
  const cursor = svg.querySelector(".cursor");
  const readout = figure.querySelector(".readout");
  const buttons = Array.from(figure.querySelectorAll(".legend button"));
  const curves = Array.from(svg.querySelectorAll(".curve"), (group) => ({
    group,
    key: group.dataset.key,
    points: group.querySelector("path").getAttribute("d").slice(1).split("L")
      .map((pair) => pair.split(" ").map(Number)),
  }));
  const { left, right, top, bottom, limit, units } = svg.dataset;
  const [x0, x1, y0, y1, most] = [left, right, top, bottom, limit].map(Number);
  let x = null;

  // Height of a curve in the drawing: its points ascend in x.
  function heightAt(points, at) {
    if (at <= points[0][0]) return points[0][1];
    for (let n = 1; n < points.length; n += 1) {
      const [xa, ya] = points[n - 1];
      const [xb, yb] = points[n];
      if (at <= xb) return xb > xa ? ya + ((yb - ya) * (at - xa)) / (xb - xa) : yb;
    }
    return y1;
  }

  function read() {
    buttons.forEach((button) => {
      const own = curves.filter((curve) => curve.key === button.dataset.key);
      const shown = x !== null && own.length === 1 && button.ariaPressed === "true";
      const percent = shown ? (100 * (y1 - heightAt(own[0].points, x))) / (y1 - y0) : 0;
      button.querySelector(".value").textContent = shown ? `${percent.toFixed(1)} %` : "";
    });
    cursor.toggleAttribute("hidden", x === null);
    if (x === null) return;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    const dose = (most * (x - x0)) / (x1 - x0);
    readout.textContent = `Volume that receives at least ${dose.toFixed(units === "Gy" ? 2 : 0)} ${units}`;
  }

  function moveTo(place) {
    x = Math.min(Math.max(place, x0), x1);
    read();
  }

  svg.addEventListener("pointermove", (event) => {
    moveTo(new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse()).x);
  });
  svg.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way) return;
    event.preventDefault();
    moveTo((x === null ? x0 : x) + (way * (x1 - x0)) / (event.shiftKey ? 20 : 200));
  });
  buttons.forEach((button) => button.addEventListener("click", () => {
    const shown = button.ariaPressed !== "true";
    button.ariaPressed = String(shown);
    curves.filter((curve) => curve.key === button.dataset.key)
      .forEach((curve) => curve.group.toggleAttribute("hidden", !shown));
    read();
  }));
});
