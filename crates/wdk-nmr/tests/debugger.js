"use strict";

// Runs a script of debug/ on the memory of the program that has started this one, which answers what is asked for
// on standard input: "read ADDRESS SIZE" for a number, everything else is the result.

const fs = require("fs");
const vm = require("vm");

const [script, command, ...addresses] = process.argv.slice(2);

function ask(question) {
    fs.writeSync(1, `${question}\n`);
    const byte = Buffer.alloc(1);
    let answer = "";
    while (fs.readSync(0, byte, 0, 1, null) === 1 && byte[0] !== 10) answer += byte.toString("latin1");
    if (answer === "none") throw new Error(`no memory: ${question}`);
    return BigInt(answer);
}

const memory = {
    u32: (address, offset) => Number(ask(`read ${address + BigInt(offset)} 4`)),
    pointer: (address, offset) => ask(`read ${address + BigInt(offset)} 8`),
    plus: (address, offset) => address + BigInt(offset),
    isNull: (address) => address === 0n,
    text: (address) => `0x${address.toString(16)}`,
};

// WinDbg has no modules: the functions of the script are global.
vm.runInThisContext(fs.readFileSync(script, "utf8"), { filename: script });
try {
    const found = command === "in" ? registrationsIn(memory, BigInt(addresses[0]), Number(addresses[1]))
        : [registrationAt(memory, BigInt(addresses[0]))];
    for (const registration of found) for (const line of describe(memory, registration)) console.log(`line ${line}`);
} catch (error) {
    console.log(`line error: ${error.message}`);
}
