// Attention maps as little canvases, one pixel a cell, which the browser scales up smoothly.

// What is not looked at gets dark; what is gets a warm tint.
const DARK = [12, 16, 30, 135];
const WARM = [255, 165, 30, 95];

export function drawLevels(canvas, levels) {
  const [height, width] = [levels.length, levels[0].length];
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const empty = isEven(levels);
  levels.flat().forEach((level, cell) => {
    const share = level / 255;
    for (let channel = 0; channel < 4; channel += 1) {
      const mixed = DARK[channel] + share * (WARM[channel] - DARK[channel]);
      image.data[4 * cell + channel] = empty && channel === 3 ? 0 : mixed;
    }
  });
  context.putImageData(image, 0, 0);
}

export const isEven = (levels) => levels.every((row) => row.every((level) => level === 0));

// Where a map is strongest, in words.
export function describeLevels(levels) {
  if (isEven(levels)) return "even: nowhere in particular";
  const flat = levels.flat();
  const width = levels[0].length;
  const cell = flat.indexOf(Math.max(...flat));
  const third = (place, count) => Math.min(2, Math.floor((3 * place) / count));
  const row = ["back", "middle", "front"][third(Math.floor(cell / width), levels.length)];
  const column = ["left", "centre", "right"][third(cell % width, width)];
  return `strongest at the ${row} ${column}`;
}
