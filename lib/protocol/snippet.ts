const SNIPPET_CHARACTERS = 80;

/** The beginning of a message, as lists and pushes show it. */
export function snippetOf(content: string): string {
  if (content.length <= SNIPPET_CHARACTERS) return content;
  const cut = content.slice(0, SNIPPET_CHARACTERS);
  return cut.isWellFormed() ? cut : cut.slice(0, -1); // not through the middle of a surrogate pair
}
