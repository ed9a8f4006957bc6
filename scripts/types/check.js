// Checks the types of the viewer's JavaScript: .venv/bin/node scripts/types/check.js [crossviz/web, or a copy of it]
//
// The viewer's files are scripts that share one object, `CrossvizViewer`, and each adds its own parts to it. For the check
// alone each is read as a module that exports what it adds, with every line where it stands, and the object's type is
// made of the exports: what one file takes from another has the type that it has there, and is declared nowhere else.
import { readdirSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const WEB = resolve(process.argv[2] ?? join(HERE, "../../crossviz/web"));
const VIEWER = join(WEB, "viewer");
const HEADER = join(WEB, "header.js");
const NAMESPACE = join(VIEWER, "namespace.d.ts"); // made here, nowhere on the disk

// Lines that each of the viewer's files has, and the same in a module. What stands in their place is as long where more
// follows in the line, so that positions stay right.
const SHAPE = [
  ["(() => {", "        "],
  ["  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});", "  export const CV = window.CrossvizViewer;"],
  ["  Object.assign(CV, {", "  export const own=({"],
  ["})();", ""],
];

const fail = (sentence) => {
  process.stderr.write(`${sentence}\n`);
  process.exit(2);
};

const { default: ts } = await import("typescript").catch(() => fail("TypeScript is not installed: run scripts/setup test."));

/** A script of the viewer as a module. */
function moduleOf(path) {
  const lines = ts.sys.readFile(path).split("\n");
  for (const [begin, instead] of SHAPE) {
    const at = lines.findIndex((line) => line.startsWith(begin));
    if (at < 0) fail(`${basename(path)} has no line that begins with "${begin}", as every file of the viewer has: give it one.`);
    lines[at] = instead + lines[at].slice(begin.length);
  }
  return lines.join("\n");
}

const names = readdirSync(VIEWER).filter((name) => name.endsWith(".js"));
if (!names.length) fail(`There are no scripts in ${VIEWER}: name the folder crossviz/web.`);
const made = new Map(names.map((name) => [join(VIEWER, name), moduleOf(join(VIEWER, name))]));
made.set(NAMESPACE, `type CrossvizNamespace = ${names.map((name) => `typeof import("./${name}").own`).join(" & ")};\n`);
// Gradio runs it as the body of a function that has the header as `element`.
made.set(HEADER, `export {}; const element = document.body; ${ts.sys.readFile(HEADER)}`);

const config = ts.readConfigFile(join(HERE, "tsconfig.json"), ts.sys.readFile);
const read = ts.parseJsonConfigFileContent({ ...config.config, files: [join(VIEWER, "types.d.ts")] }, ts.sys, HERE);
const host = ts.createCompilerHost(read.options, true);
const { readFile, fileExists, getSourceFile } = host;
host.readFile = (path) => made.get(path) ?? readFile(path);
host.fileExists = (path) => made.has(path) || fileExists(path);
host.getSourceFile = (path, language, ...rest) =>
  made.has(path) ? ts.createSourceFile(path, made.get(path), language, true) : getSourceFile(path, language, ...rest);
const program = ts.createProgram([...read.fileNames, ...made.keys()], read.options, host);
const found = [config.error, ...read.errors, ...ts.getPreEmitDiagnostics(program)].filter(Boolean);
const format = { getCanonicalFileName: (path) => path, getCurrentDirectory: () => process.cwd(), getNewLine: () => "\n" };
process.stdout.write(ts.formatDiagnostics(found, format));
process.exitCode = found.length ? 1 : 0;
