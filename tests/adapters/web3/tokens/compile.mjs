// Writes contracts.json anew: `npm install solc@0.8.37 && node compile.mjs` in this folder. Tests need no compiler.
import { readFileSync, writeFileSync } from "node:fs";
import solc from "solc";

const names = ["Twice", "UsdcLike", "UsdtLike"];
const sources = Object.fromEntries(names.map((name) => [`${name}.sol`, { content: readFileSync(`${name}.sol`, "utf8") }]));
const settings = {
  evmVersion: "cancun",
  metadata: { bytecodeHash: "none" },
  optimizer: { enabled: true, runs: 200 },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
};
const told = JSON.parse(solc.compile(JSON.stringify({ language: "Solidity", sources, settings })));
for (const error of told.errors ?? []) console.error(error.formattedMessage);
const made = names.map((name) => {
  const contract = told.contracts[`${name}.sol`][name];
  return [name, { abi: contract.abi, bytecode: `0x${contract.evm.bytecode.object}` }];
});
writeFileSync("contracts.json", `${JSON.stringify({ compiler: solc.version(), ...Object.fromEntries(made) }, null, 1)}\n`);
