"use strict";

// Shows the registrations of drivers that are written with wdk-nmr: who is attached, who holds up a detach.
//
//     .scriptload C:\sluice\wdk_nmr.js
//     !nmr_in poi(sluice!sluice::DRIVER)    registrations that the memory at this address points to
//     !nmr 0xffff...                        the registration, chunk or slot at this address
//
// The offsets are those of the module wdk_nmr::header, which asserts them. A test runs the first part of this file on
// the structures of a running program; the second part is for WinDbg alone.

// ---- The structures ----
//
// A `memory` has u32(address, offset), pointer(address, offset) and plus(address, offset). It throws where there is
// none. Addresses are whatever it makes of them: they are passed on, shown by `text` and compared by `isNull`.

const ROLES = { 1: "provider", 2: "client" };
const STATES = ["free", "attaching", "attached", "unusable", "draining", "detached"];
const LAYOUT_VERSION = 1;

// "WdkNmrRg", "WdkNmrCh" and "Slot" as little-endian words.
const REGISTRATION = [0x4e6b6457, 0x6752726d];
const CHUNK = [0x4e6b6457, 0x6843726d];
const SLOT = [0x746f6c53];

function startsWith(memory, address, words) {
    return words.every((word, index) => memory.u32(address, 4 * index) === word);
}

function kindOf(memory, address) {
    if (startsWith(memory, address, REGISTRATION)) return "registration";
    if (startsWith(memory, address, CHUNK)) return "chunk";
    if (startsWith(memory, address, SLOT)) return "slot";
    return null;
}

// One word of a guard: twice the calls in progress, the highest bit while calls may start, the lowest when all is over.
function readWord(memory, slot, offset) {
    const low = memory.u32(slot, offset);
    const high = memory.u32(slot, offset + 4);
    const isOpen = high >= 0x80000000;
    // More than 2^31 calls are not in progress at once.
    return { isOpen, calls: ((high & 1) * 0x80000000) + (low >>> 1), isCompleted: (low & 1) === 1 };
}

// A guard of one word, or one with a word every 128 bytes.
function readGuard(memory, slot, slotSize) {
    const isSharded = slotSize >= 384 && slotSize % 128 === 0;
    if (!isSharded) return Object.assign({ shards: 1 }, readWord(memory, slot, 72));
    const guard = { shards: 0, calls: 0, isOpen: false, isCompleted: false };
    for (let offset = 256; offset + 8 <= slotSize; offset += 128) {
        const word = readWord(memory, slot, offset);
        guard.shards += 1;
        guard.calls += word.calls;
        guard.isOpen = guard.isOpen || word.isOpen;
    }
    return guard;
}

function hex(number, digits) {
    return (number >>> 0).toString(16).padStart(digits, "0");
}

// The module id of a peer: its type, then the bytes of a GUID or LUID.
function readModule(memory, slot) {
    const type = memory.u32(slot, 48);
    const words = [56, 60, 64, 68].map((offset) => memory.u32(slot, offset));
    if (type === 1) {
        const bytes = (word) => [0, 8, 16, 24].map((shift) => hex((word >>> shift) & 0xff, 2)).join("");
        const tail = bytes(words[2]) + bytes(words[3]);
        const parts = [hex(words[0], 8), hex(words[1] & 0xffff, 4), hex(words[1] >>> 16, 4)];
        return `{${parts.concat(tail.slice(0, 4), tail.slice(4)).join("-")}}`;
    }
    if (type === 2) return `interface ${hex(words[1], 8)}${hex(words[0], 8)}`;
    return "no module id";
}

function readSlot(memory, address, slotSize) {
    if (!startsWith(memory, address, SLOT)) throw new Error(`expected a slot at ${memory.text(address)}`);
    const state = memory.u32(address, 4);
    return {
        address,
        state: STATES[state] || `state ${state}`,
        handle: memory.pointer(address, 16),
        peerContext: memory.pointer(address, 24),
        module: readModule(memory, address),
        guard: readGuard(memory, address, slotSize),
    };
}

function readRegistration(memory, address) {
    if (!startsWith(memory, address, REGISTRATION)) {
        throw new Error(`expected a registration of wdk-nmr at ${memory.text(address)}`);
    }
    const version = memory.u32(address, 8);
    if (version !== LAYOUT_VERSION) throw new Error(`expected layout version ${LAYOUT_VERSION}, found ${version}`);
    const slotSize = memory.u32(address, 16);
    const registration = {
        address,
        role: ROLES[memory.u32(address, 12)] || "of an unknown role",
        handle: memory.pointer(address, 32),
        slots: [],
    };
    let chunk = memory.pointer(address, 24);
    // A list that was damaged may have no end.
    for (let chunks = 0; !memory.isNull(chunk) && chunks < 64; chunks += 1) {
        if (!startsWith(memory, chunk, CHUNK)) throw new Error(`expected a chunk at ${memory.text(chunk)}`);
        const first = memory.pointer(chunk, 24);
        const capacity = memory.u32(chunk, 16);
        for (let index = 0; index < capacity; index += 1) {
            registration.slots.push(readSlot(memory, memory.plus(first, index * slotSize), slotSize));
        }
        chunk = memory.pointer(chunk, 8);
    }
    return registration;
}

// The registration that a registration's or a slot's address leads to.
function registrationAt(memory, address) {
    const kind = kindOf(memory, address);
    if (kind === "registration") return readRegistration(memory, address);
    if (kind === "slot") return readRegistration(memory, memory.pointer(address, 8));
    const where = memory.text(address);
    throw new Error(`expected a registration or a slot of wdk-nmr at ${where}, found ${kind || "neither"}`);
}

// The registrations that `size` bytes from `address` on have pointers to.
function registrationsIn(memory, address, size) {
    const found = [];
    for (let offset = 0; offset + 8 <= size; offset += 8) {
        try {
            const pointer = memory.pointer(address, offset);
            if (!memory.isNull(pointer) && startsWith(memory, pointer, REGISTRATION)) {
                found.push(readRegistration(memory, pointer));
            }
        } catch (notMemory) {
            // Most words are no pointers.
        }
    }
    return found;
}

// What holds a binding up, in words.
function explain(slot) {
    const calls = slot.guard.calls === 1 ? "1 call" : `${slot.guard.calls} calls`;
    switch (slot.state) {
        case "attached":
            return `${calls} into the peer in progress`;
        case "draining":
            return `this driver holds the detach up: ${calls} into the peer in progress`;
        case "detached":
            return "this driver is done; the detach waits for the peer";
        case "unusable":
            return "the peer's dispatch table is not what the interface says, so it is not called";
        default:
            return "";
    }
}

function describe(memory, registration) {
    const used = registration.slots.filter((slot) => slot.state !== "free");
    const { text } = memory;
    const lines = [
        `${registration.role} registration ${text(registration.address)}, handle ${text(registration.handle)}: ` +
            `${used.length} of ${registration.slots.length} slots used`,
    ];
    for (const slot of used) {
        lines.push(`  ${slot.state} ${text(slot.address)}, peer ${slot.module}, binding ${text(slot.handle)}`);
        const why = explain(slot);
        if (why) lines.push(`    ${why}`);
    }
    return lines;
}

// ---- WinDbg ----

function debuggerMemory() {
    return {
        u32: (address, offset) => host.memory.readMemoryValues(address.add(offset), 1, 4)[0],
        pointer: (address, offset) => host.memory.readMemoryValues(address.add(offset), 1, 8)[0],
        plus: (address, offset) => address.add(offset),
        isNull: (address) => address.compareTo(0) === 0,
        text: (address) => address.toString(16),
    };
}

function show(memory, registrations) {
    if (registrations.length === 0) host.diagnostics.debugLog("no registration of wdk-nmr\n");
    for (const registration of registrations) {
        for (const line of describe(memory, registration)) host.diagnostics.debugLog(`${line}\n`);
    }
}

function nmr(address) {
    const memory = debuggerMemory();
    show(memory, [registrationAt(memory, host.parseInt64(address.toString()))]);
}

function nmrIn(address, size) {
    const memory = debuggerMemory();
    show(memory, registrationsIn(memory, host.parseInt64(address.toString()), size === undefined ? 512 : Number(size)));
}

function initializeScript() {
    return [
        new host.apiVersionSupport(1, 3),
        new host.functionAlias(nmr, "nmr"),
        new host.functionAlias(nmrIn, "nmr_in"),
    ];
}
