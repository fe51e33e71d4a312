/** Text that arrives in pieces, as whole lines. */

export class LineSplitter {
  #rest = '';
  constructor(private readonly onLine: (line: string) => void) {}

  push(piece: string): void {
    const lines = (this.#rest + piece).split('\n');
    this.#rest = lines.pop()!;
    for (const line of lines) this.onLine(line);
  }
}

/** Calls `onLine` for each line of a stream. */
export function eachLine(stream: NodeJS.ReadableStream, onLine: (line: string) => void): void {
  const splitter = new LineSplitter(onLine);
  stream.setEncoding('utf8');
  stream.on('data', (piece: string) => splitter.push(piece));
}
