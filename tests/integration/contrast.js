// Every element with text of its own: the contrast of its colour with the first background behind it that is not
// transparent (WCAG 2.2, relative luminance), and what it is.
() => {
  const channels = (text) => text.match(/[\d.]+/g).map(Number);
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const luminance = (colour) => {
    const [red, green, blue] = colour.slice(0, 3).map((value) => linear(value / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const silent = new Set(["SCRIPT", "STYLE", "TITLE", "OPTION"]);
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!hasText || !element.checkVisibility() || silent.has(element.tagName.toUpperCase())) continue;
    const style = getComputedStyle(element);
    const colour = channels(element.closest("svg") ? style.fill : style.color);
    const [lighter, darker] = [luminance(colour), luminance(ground(element))].sort((one, other) => other - one);
    const name = `${element.tagName}.${element.getAttribute("class")}: ${element.textContent.trim().slice(0, 40)}`;
    found.push([(lighter + 0.05) / (darker + 0.05), name]);
  }
  return found;
}
