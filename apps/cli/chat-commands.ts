/** The commands of a chat, as they are typed. */

export const HELP = `  <text>                       send it (a text that begins with / as //…)
  /edit [#number] <text>       give your latest message, or that one, another text
  /delete [#number]            delete it
  /join <user or g:id>         go to another channel
  /group <title> <user...>     make a group and go there ("a longer title" in quotes)
  /add <user>                  add somebody to this group
  /leave                       leave this group
  /who                         who is here
  /list                        your conversations
  /quit                        end (or Ctrl-D)`;

/** Words, those in double quotes together. */
export function words(text: string): string[] {
  return [...text.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? '');
}
