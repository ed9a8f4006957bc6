// The types that the viewer's scripts share, for the check alone (scripts/types/check.js): nothing of it is sent to a
// browser. What a script adds to `CrossvizViewer` has the type that it has there; only what comes from outside, and what
// several scripts hand on, is written down here.

/** What all the scripts add, put together by the check. */
type CV = CrossvizNamespace;
interface Window {
  CrossvizViewer: CV;
}

// ---- What the browser is known to do ----

/** Null, where no timer was set, ends none. */
declare function clearTimeout(timer: ReturnType<typeof setTimeout> | null | undefined): void;
interface Node {
  /** What gains or loses the focus or the pointer is a node. */
  contains(other: EventTarget | null): boolean;
}
interface FocusOptions {
  focusVisible?: boolean;
}

// ---- The payload: crossviz/render/payload.py ----

/** Maps as small numbers: crossviz/render/quantised.py. */
interface Block {
  data: string;
  count: number;
  levels: number;
  knee: number | null;
  predicted: boolean;
}
interface Word {
  text: string;
  /** Positions in the caption, in code points. */
  start: number;
  end: number;
  tokens: number;
  truncated: boolean;
  unknown?: true;
}
interface Caption {
  text: string;
  cut_at: number | null;
  words: Word[];
}
/** In pixels of the photo: [x0, y0, x1, y1]. */
type Box = [x0: number, y0: number, x1: number, y1: number];
type Rgb = [red: number, green: number, blue: number];
interface Payload {
  id: string;
  schema: number;
  photo: { src: string; width: number; height: number };
  view: { crop_xyxy: Box };
  grid: { height: number; width: number };
  chance: number;
  caption: Caption;
  phrases: [first: number, last: number][];
  model: { name: string; title: string; sentence: string; attention_sentence: string; trained: boolean };
  method: {
    name: string;
    title: string;
    unit: string;
    signed: boolean;
    reduce: string | null;
    direction: string;
    text_dependent: boolean;
    notes: string[];
  };
  layers: string[];
  heads: number;
  maps: Block | null;
  means: Block;
  null: { head: number[][][]; mean: number[] } | null;
  similarity: number | null;
  vmax: number;
  provenance: Record<string, unknown>;
  trust: Record<string, TrustReport>;
  hidden?: Hidden;
  steps?: Steps;
}
interface Hidden {
  words: number[];
  guesses: { word: number; choices: [text: string, share: number][] }[];
}
interface Steps {
  titles: [string, string];
  layers: string[];
  heads: number;
  count: number;
  words: Block;
  queries: Block;
  vmax: number;
}

// ---- The checks: `TrustReport.as_dict` in crossviz/trust ----

interface Calibration {
  captions: number;
  patches: number;
  share_beyond: number;
  expected: number;
  p_peak: number;
  p_share: number;
  percentile: number[];
  z: number[];
}
interface Curves {
  map: number[];
  random: number[];
  random_low: number[];
  random_high: number[];
  centre: number[];
}
interface Areas {
  map: number;
  random: number;
  centre: number;
}
interface Deletion {
  unit: string;
  fill: string;
  levels: number[];
  deletion: Curves;
  insertion: Curves;
  area: { deletion: Areas; insertion: Areas };
  elsewhere: number[];
  ratio: number | null;
}
interface Randomisation {
  stages: { label: string; share: number; correlation: number }[];
}
interface Agreement {
  methods: string[];
  titles: string[];
  correlations: number[][];
  agrees: boolean[];
  agreeing: number;
  of: number;
  patches: number[];
}
interface HeadEffect {
  unit: string;
  heads: { layer: string; head: number; effect: number; map_change: number | null; mass: number | null }[];
  whole: number | null;
  all_off: number | null;
}
interface Localisation {
  box: Box;
  pointing: boolean;
  mass: number;
  iou: number;
  cut_off: number;
  area: number;
}
interface TrustReport {
  span: [number, number];
  text: string;
  method: string;
  sentence: string;
  seconds: number;
  seed: number;
  notes: string[];
  calibration: Calibration | null;
  deletion: Deletion | null;
  randomisation: Randomisation | null;
  agreement: Agreement | null;
  head_effect: HeadEffect | null;
  localisation: Localisation | null;
}
/** What each check is shown from; "done" is of the whole report. */
interface CheckParts {
  calibration: Calibration;
  deletion: Deletion;
  randomisation: Randomisation;
  agreement: Agreement;
  head_effect: HeadEffect;
  localisation: Localisation;
  done: TrustReport;
}
type CheckKey = keyof CheckParts;
interface DimChoice {
  dim: boolean;
  setDim: (on: boolean) => void;
}
interface Check<K extends CheckKey = CheckKey> {
  key: K;
  name: string;
  about: string;
  brief(part: CheckParts[K]): string;
  show(part: CheckParts[K], choice: DimChoice): (Node | string)[];
}
/** What `asking` knows of the word that is shown; null where there is nothing. */
interface Known {
  report: TrustReport | null;
  localisation: Localisation | null;
  boxError: string | null;
  failed: string | null;
  running: { done: number; label: string } | null;
  can: boolean;
}
/** What the server says of checks: how far they are, the report, or why there is none; of a box all reports there are. */
interface TrustMessage {
  run: number;
  done?: number;
  label?: string;
  report?: TrustReport;
  reports?: Record<string, TrustReport>;
  error?: string;
}

// ---- Inside: `Inside.as_dict` in crossviz/inside.py ----

interface NumberStrip {
  label: string;
  kind: string;
  mark: number | null;
  signed: boolean;
  /** Null where a score is masked. */
  values: (number | null)[];
}
interface SheetStep {
  id: string;
  group: string;
  part: string;
  name: string;
  formula: string;
  sentence: string;
  inputs: string[];
  strips: NumberStrip[];
}
interface Sheet {
  text: string;
  span: [number, number];
  token: number;
  tokens: [index: number, text: string][];
  layer: string;
  head: number;
  heads: number;
  patch: [row: number, col: number];
  grid: [height: number, width: number];
  others: string[];
  prob: number;
  picked: string[];
  notes: string[];
  model: string;
  trained: boolean;
  steps: SheetStep[];
}
interface InsideMessage {
  run: number;
  inside?: Sheet;
  error?: string;
}
/** What is asked for a cell; null where the server is to choose. */
interface CellQuestion extends Partial<Span> {
  token: number | null;
  layer: number | null;
  head: number | null;
  row: number | null;
  col: number | null;
}

// ---- What is chosen and shown ----

/** A word's index, or a run of several words "2-4" (`runOf`). */
type What = number | string;
/** Start and end in the caption, in code points. */
interface Span {
  start: number;
  end: number;
}
type Pin = [layer: number, head: number];
/** An index, null for all, or several of which the mean is meant. */
type HeadChoice = number | Pin[] | null;
interface Through {
  layer: number | null;
  head: HeadChoice;
}
interface Patch {
  row: number;
  col: number;
}
interface Size {
  width: number;
  height: number;
}
/** How maps are drawn. */
interface Drawing {
  smooth: boolean;
  own: boolean;
  opacity: number;
  cmap: string;
  /** Share of the mass that the line runs around; 0: no line. */
  contour: number;
  saw: boolean;
}
interface MapState extends Drawing, Through {
  /** The layer and head that are only pointed at. */
  peek?: Pin | null;
}
interface Scale {
  vmin: number;
  vmax: number;
  signed: boolean;
}
interface ShownWord {
  word: What;
  hue: number;
}
interface PhotoBox {
  photo: string;
  pixels: Box;
}
/** What the reader chose, kept from one explanation to the next. */
interface Prefs extends Omit<Drawing, "cmap"> {
  cmap: string | null;
  check: CheckKey;
  dim: boolean;
  box: PhotoBox | null;
  steps: boolean;
  inside: boolean;
  compare: boolean;
  cell: ({ photo: string } & Patch) | null;
  again: { text: string; word: number } | null;
  sort: string;
  ask: PhotoBox | null;
}
interface ViewState extends MapState {
  shown: What | null;
  held: Map<What, number>;
  peek: Pin | null;
  patch: Patch | null;
  query: number | null;
}
/** The settings of a view as JSON: crossviz/view_settings.py. */
interface Settings extends Drawing {
  shown: [number, number] | null;
  held: [number, number][];
  layer: string | null;
  head: number | [layer: string, head: number][] | null;
}
/** Settings in the terms of a view's state, those that are possible there. */
interface PossibleSettings extends Partial<MapState> {
  shown?: What | null;
  held?: What[];
}

/** Tells a reader of the screen. */
type Live = (text: string) => void;
/** What pointing at words and holding them does. */
interface WordAct {
  show(what: What): void;
  hold(what: What): void;
  drop(): void;
  clear(): void;
}
/** What pointing at patches does; `pick` is a click or Enter. */
interface PatchAct {
  patch(row: number, col: number, byKey?: boolean): void;
  leave(): void;
  clear(): void;
  pick(row: number, col: number): void;
}
/** How words are painted: of each what it gave to the null key, and how much it looks where the reader points, 0..1. */
interface WordsState {
  nulls: (number | null)[] | null;
  shown: What[];
  held: Map<What, number>;
  looks: number[] | null;
}
/** The words that look at a place, best first. */
interface Ranked {
  looks: number[];
  list: { text: string; said: string; t: number }[];
  place: string;
  none?: string;
}
interface Region {
  level: number;
  area: number;
  mass: number;
}
interface Stats {
  peak: number;
  at: number;
  total: number;
  half: Region;
}
interface HeadFigure {
  layer: number;
  head: number;
  entropy: number;
  peak: number;
  nullMass: number | null;
}

// ---- The pieces of the screen ----

type Field = InstanceType<CV["Field"]>;
type Visit = ReturnType<CV["visit"]>;
type View = { payload: Payload; field: Field; state: MapState; words: ShownWord[]; stage: Stage };
/** Grid coordinates to display coordinates. */
interface ToDisplay {
  x(col: number): number;
  y(row: number): number;
}
interface LineColours {
  line: string;
  halo: string;
}
interface HeatOptions extends Size {
  smooth: boolean;
  opacity: number;
  cmap: string;
}
/** A map of one side of a comparison. */
interface Side {
  payload: Payload;
  field: Field;
  values: Float64Array;
  nullMass?: number | null;
}
/** The words of two captions that answer to each other, each as runs. */
interface WordPair {
  first: [number, number] | null;
  second: [number, number] | null;
  same: boolean;
}
interface Both {
  first: What | null;
  second: What | null;
}

// ---- The page behind the viewer ----

/** What the page's fields hold. */
interface Fields {
  photo: unknown;
  caption: string;
  model: string;
  method: string;
}
/** How an explanation is shown; `settings` come from a link or a file and may be anything. */
interface How {
  guesses?: boolean;
  newest?: boolean;
  settings?: object | null;
}
interface Entry {
  payload: Payload;
  how: How;
  label: string;
  asked: Fields | null;
}
interface Question extends Span {
  run: number;
  id: string;
}
/** What the page behind the viewer can do; nothing in a page that stands alone. */
interface Options {
  opening?: How;
  /** Nothing is shown over the photo at first. */
  plain?: boolean;
  /** Cells that a saved page holds. */
  cells?: Sheet[];
  /** Answers that a saved page is compared with. */
  earlier?: Payload[];
  /** Suffixes and names of the files that the server writes. */
  formats?: [suffix: string, text: string][];
  link?(payload: Payload, settings: Settings): { address: string; example: string | null };
  onCancel?(): void;
  onSave?(format: string, id: string, settings: Settings, cell: CellQuestion | null): void;
  onTrust?(asked: Question): void;
  onTrustStop?(asked: { run: number }): void;
  onBox?(asked: Question & { box: Box | null }): void;
  onHide?(asked: { id: string; start: number | null; end: number | null }): void;
  onInside?(asked: { run: number; id: string } & CellQuestion): void;
  onAgain?(asked: Fields): void;
}

// ---- Elements ----

type Child = Node | string | null | undefined;
type Listeners = { [K in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[K]) => void };
interface Attributes {
  class?: string;
  text?: string | null;
  on?: Listeners;
  style?: Record<string, string>;
  [attribute: string]: unknown;
}

// ---- What the parts of the screen hand to each other ----

type Point = [x: number, y: number];
/** Lines over a horizontal axis from 0 to 1; `zero` draws a line there, `ends` are said below the axis's ends. */
interface Chart {
  lines: { kind: string; points: Point[]; dots?: boolean }[];
  band: [x: number, low: number, high: number][] | null;
  range: [bottom: number, top: number];
  zero?: boolean;
  ends: [string, string];
  said: string;
  value: (value: number) => string;
}
/** A place in something, as shares of it. */
interface Shares {
  left: number;
  top: number;
  width: number;
  height: number;
}
/** The maps of the heads; `measure` before they are drawn, `node` belongs into the grid after the cells. */
interface HeadMaps {
  node: HTMLElement | null;
  measure(moved: boolean): void;
  draw(index: number, image: ImageData | null): void;
  stop(): void;
}
/** What one word found, as sentences and figures. */
interface Sentences {
  absent: boolean;
  nothing: boolean;
  found: string | null;
  headline: string | null;
  half: string | null;
  below: boolean;
  peak: string;
}
/** What the strip of heads shows: of a word, or null. */
interface StripState {
  word: What | null;
  text: string;
  pins: Pin[];
  preview: Pin | null;
  own: boolean;
  cmap: string;
  opacity: number;
}
/** What the colour bar has to know of a field. */
type BarField = Pick<Field, "isProbability" | "unit" | "signed" | "groups" | "alike">;
interface DifferencePanel {
  node: HTMLElement;
  paint(words: (What | null)[], settings: Omit<MapState, "saw">, cursor: Patch | null): void;
  cursor(patch: Patch | null): void;
  said(): string | null;
  stop(): void;
}
/** One of the checks, whichever. */
type AnyCheck = { [K in CheckKey]: Check<K> }[CheckKey];
/** What the panel of checks shows. */
interface Told extends Known {
  sentence: string;
  /** Said beside the button, where nothing is running. */
  beside: string;
}
interface TrustPart {
  node: HTMLElement | null;
  paint(active: { word: What }[], state: Through, willing: boolean): void;
  receive(message: TrustMessage): void;
  pause(): void;
  end(): void;
}
/** Colours that the canvases need, from the design variables. */
interface Palette {
  line: string;
  halo: string;
  unseen: string;
  hatch: string;
  grid: string;
  stripe: string;
  stripeInk: string;
  ground: Rgb;
  hues: string[];
  paper: string;
  ink: string;
  muted: string;
  font: string;
}
/** What a stage draws in the place of the words' own maps, and over all else. */
interface Drawn {
  heat?(state: MapState, words: ShownWord[], size: Size): ImageData;
  ink?(ctx: CanvasRenderingContext2D, colours: Palette, size: Size): void;
}
interface Stage {
  node: HTMLElement;
  frame: HTMLElement;
  /** No words leave the plain photo; `of`: the field that they are of. */
  paint(state: MapState, words: ShownWord[], cursor: Patch | null, heatChanged: boolean, of?: Field, lines?: boolean): void;
  /** Draws what lies over the heat, where `paint` left it. */
  ink(): void;
  prepare(state: MapState, word: What): void;
  colours(): Palette;
  photo: HTMLImageElement;
  size: Size;
  /** A box that is being drawn claims the pointer, and what was being drawn before is told to `end`. */
  claim(end: () => void): void;
  describe(sentences: string[]): void;
  heat(): HTMLCanvasElement;
  stop(): void;
}
/** Text of one kind: with a colour under it, or "shown". */
interface TextRun {
  text: string;
  mark?: string | null;
}
/** Attention in two steps; `field` holds the queries' maps as though they were words. */
interface TwoSteps {
  node: HTMLElement | null;
  field: Field | null;
  paint(word: What | null, state: MapState): void;
  name(query: number): string;
}
/** A part of a formula: an element, the text of a leaf, or several in a row. */
type Term = MathMLElement | string | Term[];
/** Of a formula: numbers of the step's first vector, heads, and the name of W_Q's input, "x", or "x̂" after a LayerNorm. */
interface FormulaAbout {
  count: number;
  heads: number;
  given: string;
}
/** What else there is beside the patches of a grid of numbers. */
interface GridAbout {
  rows: number;
  columns: number;
  others: string[];
  ground: Rgb;
}
interface SheetAbout extends GridAbout {
  /** The step beside which a piece of the photo stands. */
  pieceOf: string | undefined;
  piece(): HTMLElement;
}
interface SheetLine {
  step: SheetStep;
  node: HTMLElement;
  button: HTMLButtonElement;
  /** The text of the number that is pointed at. */
  walk(by: number): string;
  rest(): void;
}
interface InsidePart {
  node: HTMLElement;
  paint(active: { word: What }[], state: Through): void;
  /** Row null: the patch that is looked at most. */
  pick(row: number | null, col: number): void;
  /** The patch that is open, to be framed in the photo. */
  cursor(): Patch | null;
  /** What was asked for the cell that is open, or null. */
  cell(): CellQuestion | null;
  receive(message: InsideMessage): void;
  end(): void;
}
/** What a link asks for. */
interface Link {
  caption: string;
  model: string;
  method: string;
  example: string | null;
  settings: unknown;
}
interface ComparePart {
  node: HTMLElement | null;
  paint(state: MapState): void;
  stop(): void;
}
/** One explanation that is drawn. */
interface Built {
  ready: Promise<unknown>;
  stop(): void;
  /** Other answers of this visit are gone. */
  forgot(): void;
  trust: TrustPart;
  inside: InsidePart;
  view(): View;
  settings(): Settings;
}
/** Words that are taken together, for the chips' own events. */
interface WordRuns {
  enter(word: number): boolean;
  click(word: number, event: MouseEvent): void;
  walk(here: number, step: number): number | null;
  focus(word: number): What;
  end(): void;
}

// ---- Generated pictures: crossviz/render/generation_payload.py ----

/** The attention in one direction. */
interface GenerationMaps {
  direction: string;
  chance: number;
  vmax: number;
  layers: string[];
  heads: number;
  means: Block;
  maps: Block | null;
  /** What a word gave to no place, `layer head word`; null where the places ask the words. */
  none_of: number[][][] | null;
  steps: Block | null;
  step_numbers: number[];
}
interface Generation {
  id: string;
  kind: string;
  schema: number;
  caption: Caption;
  picture: { src: string; width: number; height: number };
  frames: { src: string; width: number; height: number; columns: number; steps: number[] };
  steps: number;
  grid: { height: number; width: number };
  written: number[] | null;
  tokens: number[] | null;
  codebook: { src: string; width: number; height: number; entries: number[] } | null;
  directions: GenerationMaps[];
  settings: Record<string, unknown>;
  verdict: { asked: boolean; found: string[]; faults: string[] } | null;
  model: { name: string; trained: boolean };
  notes: string[];
  provenance: Record<string, unknown>;
}
/** A picture on its way, `src` what there is of it; `number` of `count` pictures. */
interface DrawingProgress {
  src: string | null;
  step: number;
  steps: number;
  seed: number;
  number: number;
  count: number;
}
/** What the reader chose, kept from one picture to the next. */
interface GenerationPrefs {
  smooth: boolean;
  /** Index of the direction. */
  side: number;
  tokens: boolean;
}
/** What the page behind the viewer of pictures can do. */
interface GenerationOptions {
  formats?: [suffix: string, text: string][];
  onSave?(format: string, id: string, words: Span[]): void;
  onExplain?(id: string): void;
}
interface BuiltGeneration {
  ready: Promise<unknown>;
  view(): View;
  stop(): void;
}
interface TokenPart {
  node: HTMLElement | null;
  paint(steps: number): void;
  mark(patch: Patch | null): void;
}
