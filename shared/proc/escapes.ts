/**
 * Undoes the kernel's octal escapes (`\040`) as mountinfo uses them: mangle_path() and seq_escape() in fs/seq_file.c.
 * Only for text in which the backslash itself is escaped (as `\134`): /proc/PID/maps does not do that.
 */
export function unescapeOctal(text: string): string {
  if (!text.includes('\\')) return text;
  return text.replace(/\\([0-3][0-7]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

/** Undoes the escapes of `Name:` in /proc/PID/status: newline as `\n`, backslash as `\\` (fs/proc/array.c). */
export function unescapeName(text: string): string {
  if (!text.includes('\\')) return text;
  return text.replace(/\\([n\\])/g, (_, letter: string) => (letter === 'n' ? '\n' : '\\'));
}
