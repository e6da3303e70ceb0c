// Writes FILE.br and FILE.gz beside every text file of a folder for which that saves something. Node alone, no packages.
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { extname, join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const TEXT = new Set([".css", ".html", ".js", ".json", ".svg", ".txt", ".wasm", ".webmanifest"]);
const SMALLEST = 512;
const WORTH = 0.95;

function keep(path, body, size) {
  if (body.length < size * WORTH) writeFileSync(path, body);
}

const [folder] = process.argv.slice(2);
for (const name of readdirSync(folder, { recursive: true })) {
  const path = join(folder, name);
  if (!TEXT.has(extname(path)) || !statSync(path).isFile()) continue;
  const body = readFileSync(path);
  if (body.length < SMALLEST) continue;
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
    [constants.BROTLI_PARAM_SIZE_HINT]: body.length,
  };
  keep(`${path}.br`, brotliCompressSync(body, { params }), body.length);
  keep(`${path}.gz`, gzipSync(body, { level: constants.Z_BEST_COMPRESSION }), body.length);
}
