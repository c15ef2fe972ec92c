// What is known of one image of a run.

export const isMovie = (file) => /\.(mp4|webm|mov|mkv)$/i.test(file ?? "");

export const newTile = () => ({ previews: [], scale: 0, total: 0, file: undefined, seed: undefined });

/** The tile of an image of a finished run. */
export function copyTile({ seed, file, scales }) {
  const previews = (scales ?? []).map((name, at) => ({ scale: scaleOf(name) ?? at + 1, file: name }));
  return { ...newTile(), previews, seed, file };
}

// "00000-scale-03.png" is scale 3.
const scaleOf = (name) => {
  const found = /(?:scale|pass)-(\d+)\./.exec(name);
  return found ? Number(found[1]) : undefined;
};

/** What the slider goes through: the previews, and the finished image at the end. */
export function steps(tile) {
  if (!tile) return [];
  const found = tile.previews.map((preview) => ({ ...preview }));
  if (tile.file) found.push({ scale: (found.at(-1)?.scale ?? 0) + 1, file: tile.file });
  if (found.length) found.at(-1).last = true;
  return found;
}

/** How far a run is, in words. */
export function wordsOf(view, tile) {
  const scale = `Scale ${tile.scale} of ${tile.total}`;
  const many = Math.max(view.tiles.length, view.request?.n ?? 1);
  const image = many > 1 ? `, image ${view.tiles.indexOf(tile) + 1} of ${many}` : "";
  return tile.clips > 1 ? `Clip ${tile.clip} of ${tile.clips}, ${scale.toLowerCase()}.` : `${scale}${image}.`;
}

/** How far a run is, as a share. A video's first clip is one of several; an image counts as one. */
export function shareOf(view) {
  const many = Math.max(view.tiles.length, view.request?.n ?? 1);
  const done = view.tiles.map((tile) => (tile.total ? ((tile.clips > 1 ? tile.clip - 1 : 0) + tile.scale / tile.total) / Math.max(tile.clips ?? 1, 1) : 0));
  return done.reduce((sum, share) => sum + share, 0) / many;
}
