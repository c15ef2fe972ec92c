// What the pipeline tab needs of CodeMirror 6, as one module: `npm ci && npm run build` writes ../editor.bundle.js.

import { acceptCompletion, autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap, startCompletion } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { bracketMatching, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { forceLinting, lintGutter, lintKeymap, linter } from "@codemirror/lint";
import { EditorState, Prec } from "@codemirror/state";
import { EditorView, drawSelection, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers } from "@codemirror/view";
import { classHighlighter } from "@lezer/highlight";

/**
 * Makes an editor for YAML in `parent`. `complete(text, position)` gives `{ from, options }` or nothing; `check(text)` resolves with
 * mistakes `{ message, hint, line, column }`, lines and columns from 1; `onrun` is called for Ctrl+Enter, `onchange` after each change.
 */
export function makeEditor({ parent, nonce, label, complete, check, onchange, onrun }) {
  const extensions = [
    nonce ? EditorView.cspNonce.of(nonce) : [],
    lineNumbers(), highlightActiveLine(), highlightActiveLineGutter(), history(), drawSelection(), indentOnInput(), bracketMatching(), closeBrackets(),
    indentUnit.of("  "), EditorState.tabSize.of(2), EditorView.lineWrapping, yaml(), syntaxHighlighting(classHighlighter),
    autocompletion({ override: [(context) => complete(context.state.doc.toString(), context.pos, context.explicit)], icons: false }),
    linter(async (view) => diagnostics(view, await check(view.state.doc.toString())), { delay: 500 }), lintGutter(),
    Prec.highest(keymap.of([{ key: "Mod-Enter", run: () => { onrun(); return true; } }, { key: "Tab", run: acceptCompletion }])),
    keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap, ...completionKeymap, ...lintKeymap]),
    EditorView.updateListener.of((update) => { if (update.docChanged) onchange(); }),
    EditorView.contentAttributes.of({ "aria-label": label, spellcheck: "false", autocapitalize: "off" }),
  ];
  const view = new EditorView({ parent, state: EditorState.create({ doc: "", extensions }) });
  return {
    text: () => view.state.doc.toString(),
    set: (text) => view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text }, selection: { anchor: 0 }, scrollIntoView: true }),
    focus: () => view.focus(),
    recheck: () => forceLinting(view),
    suggest: () => { view.focus(); startCompletion(view); },
    goTo: (line, column) => {
      const { from } = range(view.state.doc, { line, column });
      view.dispatch({ selection: { anchor: from }, effects: EditorView.scrollIntoView(from, { y: "center" }) });
      view.focus();
    },
  };
}

const diagnostics = (view, mistakes) =>
  mistakes.map((mistake) => ({ ...range(view.state.doc, mistake), severity: "error", message: [mistake.message, mistake.hint].filter(Boolean).join("\n") }));

// From the column to the end of the word, or the whole line if there is no column.
function range(doc, { line, column }) {
  const at = doc.line(Math.min(Math.max(line ?? 1, 1), doc.lines));
  const start = Math.min(at.from + Math.max((column ?? 1) - 1, 0), at.to);
  const word = /^[^\s,{}[\]]+/.exec(doc.sliceString(start, at.to))?.[0];
  return column && word ? { from: start, to: start + word.length } : { from: column ? start : at.from, to: at.to };
}
