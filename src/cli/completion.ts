/**
 * `viaduct completion SHELL`: a script for the shell. What is offered comes from the verbs'
 * definitions and from the host, live: addresses with names, groups, drivers, codes.
 */

import { describe } from "../host/device-text.ts";
import { CATALOGUE } from "../host/findings/catalogue.ts";
import { Host } from "../host/host.ts";
import { PciIds } from "../host/pci-ids.ts";
import { HostTree } from "../host/tree.ts";
import {
  type CommandDefinition,
  HELP_OPTION,
  JSON_OPTION,
  type Offers,
  type OptionDefinition,
} from "./command.ts";
import { EXIT } from "./exit-status.ts";
import { print, printJson } from "./output.ts";
import { type ParsedCommand, usage } from "./parse-command.ts";
import { VERBS, verbNamed } from "./verbs.ts";

export const command: CommandDefinition = {
  name: "completion",
  summary: "completion for bash, zsh and fish",
  description: [
    `Prints a script for the shell. It asks viaduct for candidates while typing, so devices are
    offered with their names, and groups, drivers and codes as they are now.`,
  ],
  operands: [
    {
      name: "bash|zsh|fish",
      about: "the shell",
      optional: true,
      repeatable: true,
      offers: ["bash", "zsh", "fish"],
    },
  ],
  options: [
    { flags: ["--complete"], about: "print candidates for the words that follow; the scripts do" },
    JSON_OPTION,
  ],
  examples: [
    { about: "bash, for this shell", line: "source <(viaduct completion bash)" },
    { about: "zsh", line: `viaduct completion zsh > "\${fpath[1]}/_viaduct"` },
    {
      about: "fish",
      line: "viaduct completion fish > ~/.config/fish/completions/viaduct.fish",
    },
  ],
};

// Words are cut at white space, because bash would cut addresses at their colons.
const BASH = `_viaduct() {
  local line="\${COMP_LINE:0:COMP_POINT}" cur IFS=$' \\t\\n'
  local -a words
  read -ra words <<< "$line"
  [[ "$line" == *[[:space:]] ]] && words+=("")
  cur="\${words[\${#words[@]}-1]}"
  local prefix=""
  [[ "$cur" == *:* ]] && prefix="\${cur%:*}:"
  COMPREPLY=()
  local value
  while IFS=$'\\t' read -r value _; do
    [[ "$value" == "$cur"* ]] && COMPREPLY+=("\${value#"$prefix"}")
  done < <(viaduct completion --complete -- "\${words[@]:1}" 2>/dev/null)
}
complete -o default -F _viaduct viaduct`;

const ZSH = `#compdef viaduct
_viaduct() {
  local -a entries
  local value about
  while IFS=$'\\t' read -r value about; do
    entries+=("\${value//:/\\\\:}:$about")
  done < <(viaduct completion --complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  if (( $#entries )); then _describe 'viaduct' entries; else _files; fi
}
compdef _viaduct viaduct`;

const FISH = `function __viaduct_complete
  set -l words (commandline -opc) (commandline -ct)
  viaduct completion --complete -- $words[2..-1] 2>/dev/null
end
complete -c viaduct -a '(__viaduct_complete)'`;

const SCRIPTS: Readonly<Record<string, string>> = { bash: BASH, zsh: ZSH, fish: FISH };

export async function run(parsed: ParsedCommand): Promise<number> {
  if (parsed.has("--complete")) {
    const found = await candidates(parsed.operands);
    print(found.map(([value, about]) => `${value}\t${about}`).join("\n"));
    return EXIT.DONE;
  }
  const script = SCRIPTS[parsed.operands[0] ?? ""];
  if (script === undefined) throw usage(command, "say bash, zsh or fish");
  if (parsed.has("--json")) printJson({ shell: parsed.operands[0], script });
  else print(script);
  return EXIT.DONE;
}

type Candidate = readonly [value: string, about: string];

/** What can stand in place of the last of `words`, which are what follows `viaduct`. */
export async function candidates(words: readonly string[]): Promise<Candidate[]> {
  const current = words.at(-1) ?? "";
  const starts = (all: readonly Candidate[]) => all.filter(([value]) => value.startsWith(current));
  if (words.length < 2) {
    return starts(Object.entries(VERBS).map(([name, { summary }]) => [name, summary] as const));
  }
  const verb = await verbNamed(words[0]!)?.load();
  if (verb === undefined) return [];
  const definition = verb.command;
  const options = [...definition.options, HELP_OPTION];
  const before = words.at(-2)!;
  const waiting = options.find(
    (option) => option.value !== undefined && option.flags.includes(before),
  );
  if (waiting !== undefined) return starts(offered(waiting.offers));
  if (current.startsWith("-")) return starts(optionNames(options));
  const operands = definition.operands;
  return starts(operands.flatMap((operand) => offered(operand.offers)));
}

function optionNames(options: readonly OptionDefinition[]): Candidate[] {
  return options.flatMap(({ flags, about }) => flags.map((flag) => [flag, about] as const));
}

function offered(offers: Offers | undefined): Candidate[] {
  if (offers === undefined || offers === "file") return [];
  if (typeof offers !== "string") return offers.map((word) => [word, ""] as const);
  if (offers === "code") return CATALOGUE.map(({ code, title }) => [code, title] as const);
  if (offers === "verb") return Object.entries(VERBS).map(([name, one]) => [name, one.summary]);
  const tree = HostTree.live();
  if (offers === "driver") return tree.names("/sys/bus/pci/drivers").map((name) => [name, ""]);
  const host = Host.scan(tree);
  const ids = PciIds.system();
  if (offers === "device" || offers === "device option") {
    const before = offers === "device" ? "" : "vfio-pci,host=";
    const devices = host.devices.filter((device) => before === "" || !device.isBridge);
    return devices.map((device) => [`${before}${device.address}`, describe(device, ids)]);
  }
  return [...host.groups.values()].map((group) => [
    String(group.number),
    group.devices.map((device) => describe(device, ids)).join("; "),
  ]);
}
