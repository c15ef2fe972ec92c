// Completion in pipelines, from their JSON Schema. It reads the YAML by its indentation, so it also works while a line is half written.

/** What fits at a position: `{ from, options }`, or nothing. `models` are offered for the key `model`. */
export function complete(text, position, { schema, models }, explicit) {
  if (!schema) return null;
  const place = locate(text, position);
  if (!place || (!explicit && !place.word && place.kind === "key")) return null;
  place.stage = stageAt(text, place);
  const node = place.path.reduce((found, key) => child(schema, found, key, place), { nodes: [schema], at: [] });
  const nodes = node.nodes.flatMap((one) => pick(schema, one, place.path.length === 2 ? place.stage : undefined));
  const options = place.kind === "key" ? keysOf(schema, nodes, place) : valuesOf(schema, text, nodes, place, models);
  return options.length ? { from: position - place.word.length, options, validFor: /^[\w.-]*$/ } : null;
}

const keyLine = /^(\s*)(?:- )?("?[\w.-]+"?):(?:\s|$)/;

// Where the position is: the keys above it, and whether a key or a value is being written.
function locate(text, position) {
  const lines = text.slice(0, position).split("\n");
  const line = lines.pop();
  if (/(^|\s)#/.test(line)) return null;
  const indent = /^ */.exec(line)[0].length;
  const path = pathOf(lines, indent);
  const place = { path, row: lines.length, flow: "", word: "", kind: "key", key: undefined };
  let rest = line.slice(indent);
  const own = /^([\w.-]+):\s+/.exec(rest);
  if (own) {
    place.path = [...path, own[1]];
    Object.assign(place, { kind: "value", key: own[1] });
    rest = rest.slice(own[0].length);
  } else if (rest.startsWith("- ")) {
    Object.assign(place, { kind: "value", key: path.at(-1) });
    rest = rest.slice(2);
  }
  return flow(place, rest);
}

// Goes into `{ a: 1, b: ...` and `[a, b...` behind the key of the line.
function flow(place, rest) {
  let text = rest;
  for (;;) {
    const open = /^\s*([{[])/.exec(text);
    if (!open) break;
    const inside = text.slice(open[0].length);
    const parts = split(inside);
    if (parts.closed) return null;
    text = parts.last.trimStart();
    place.flow = inside;
    place.given = parts.all.slice(0, -1).map((part) => /^\s*([\w.-]+):/.exec(part)?.[1]);
    if (open[1] === "[") continue;
    const key = /^([\w.-]+):\s+/.exec(text);
    Object.assign(place, { kind: "key", key: undefined });
    if (!key) break;
    place.path = [...place.path, key[1]];
    Object.assign(place, { kind: "value", key: key[1] });
    text = text.slice(key[0].length);
  }
  place.word = /[\w.-]*$/.exec(text)[0];
  return text.trim() === place.word ? place : null;
}

// The parts of a flow collection, at its outer level.
function split(text) {
  const all = [""];
  let depth = 0;
  for (const char of text) {
    if (char === "{" || char === "[") depth++;
    if (char === "}" || char === "]") depth--;
    if (depth < 0) return { closed: true };
    if (char === "," && depth === 0) all.push("");
    else all[all.length - 1] += char;
  }
  return { all, last: all.at(-1), closed: false };
}

// The keys of the lines above that hold a line of this indentation.
function pathOf(lines, indent) {
  const path = [];
  let limit = indent;
  for (let row = lines.length - 1; row >= 0 && limit > 0; row--) {
    const found = keyLine.exec(lines[row]);
    if (!found || found[1].length >= limit) continue;
    path.unshift(found[2].replaceAll('"', ""));
    limit = found[1].length;
  }
  return path;
}

function resolve(schema, node) {
  if (!node?.$ref) return node;
  const target = node.$ref.split("/").slice(1).reduce((at, key) => at?.[key], schema);
  return { ...target, description: node.description ?? target?.description };
}

// The shapes that a node may have.
function shapes(schema, node) {
  const plain = resolve(schema, node);
  if (!plain) return [];
  const more = [...(plain.oneOf ?? []), ...(plain.anyOf ?? []), ...(plain.allOf ?? [])];
  return more.length ? [plain, ...more.flatMap((one) => shapes(schema, one))] : [plain];
}

// Of the kinds of stages, the one that is written there.
function pick(schema, node, stage) {
  const all = shapes(schema, node);
  const fits = all.filter((one) => one.properties?.stage?.const === stage);
  return stage && fits.length ? fits : all;
}

function child(schema, { nodes, at }, key, place) {
  const stage = at.length === 2 && at[0] === "stages" ? place.stage : undefined;
  const found = nodes.flatMap((node) => pick(schema, node, stage)).flatMap((one) => {
    const next = one.properties?.[key] ?? (typeof one.additionalProperties === "object" ? one.additionalProperties : undefined);
    return next ? [next] : [];
  });
  return { nodes: found, at: [...at, key] };
}

// The kind of the stage around the position: `stage: decode` beside it.
function stageAt(text, { path, flow: written }) {
  if (path[0] !== "stages" || path.length < 2) return undefined;
  const inFlow = /(?:^|[\s,{])stage:\s*([\w-]+)/.exec(written)?.[1];
  return inFlow ?? /(?:^|[\s,{])stage:\s*([\w-]+)/.exec(blockOf(text, path[1]))?.[1];
}

// The lines of one stage.
function blockOf(text, name) {
  const lines = text.split("\n");
  const inStages = lines.findIndex((line) => /^stages:/.test(line));
  const start = lines.findIndex((line, row) => row > inStages && keyLine.exec(line)?.[2] === name);
  if (start < 0) return "";
  const indent = keyLine.exec(lines[start])[1].length;
  let end = start + 1;
  while (end < lines.length && (!lines[end].trim() || /^ */.exec(lines[end])[0].length > indent)) end++;
  return lines.slice(start, end).join("\n");
}

function keysOf(schema, nodes, place) {
  const found = new Map();
  const untold = place.path.length === 2 && place.path[0] === "stages" && !place.stage;
  for (const node of nodes) {
    for (const [key, value] of Object.entries(node.properties ?? {})) {
      if (untold && key !== "stage") continue; // The kind of the stage says which other keys there are.
      if (key.startsWith("$") || found.has(key) || place.given?.includes(key)) continue;
      found.set(key, { label: key, apply: `${key}: `, type: "property", info: resolve(schema, value).description, detail: typeOf(value) });
    }
  }
  return [...found.values()];
}

const typeOf = ({ type }) => [type ?? []].flat().filter((one) => one !== "null").join(" or ") || undefined;

function valuesOf(schema, text, nodes, place, models) {
  if (place.key === "from" || place.path.at(-2) === "from") return stageNames(text, place.path[1]).map((label) => ({ label, type: "variable" }));
  const found = new Map();
  const add = (label, info) => { if (label !== null && !found.has(String(label))) found.set(String(label), { label: String(label), type: "enum", info }); };
  for (const shape of nodes.flatMap((node) => shapes(schema, node))) {
    if ("const" in shape) add(shape.const, shape.description);
    for (const value of shape.enum ?? []) add(value);
    if ([shape.type].flat().includes("boolean")) for (const value of [true, false]) add(value);
  }
  if (place.key === "stage") for (const { properties, description } of kinds(schema)) add(properties.stage.const, description);
  if (place.key === "model") for (const name of models) add(name);
  return [...found.values()];
}

const kinds = (schema) => shapes(schema, schema.properties?.stages?.additionalProperties).filter((one) => one.properties?.stage?.const);

/** The names of the stages of a text, without one of them. */
function stageNames(text, without) {
  const lines = text.split("\n");
  const start = lines.findIndex((line) => /^stages:/.test(line));
  const names = [];
  let indent;
  for (const line of lines.slice(start + 1)) {
    const found = keyLine.exec(line);
    if (!found) continue;
    if (!found[1].length) break;
    indent ??= found[1].length;
    if (found[1].length === indent && found[2] !== without) names.push(found[2]);
  }
  return names;
}
