/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Counts the calls that are in progress through a dispatch table, and decides who ends the detach.
 *
 * Count and closing bit are one word, so that exactly one of these happens: GuardClose finds no call in progress, or
 * the last GuardLeave finds that it was the last. IRQL <= DISPATCH_LEVEL; nothing waits.
 */
#ifndef GUARD_H
#define GUARD_H

/* Starts as 0. Bit 0: closing. The bits above: how many calls are in progress. */
typedef volatile LONG GUARD;

#define GUARD_CLOSING 1
#define GUARD_ONE_CALL 2

/* Begins a call. FALSE: the binding is being detached, there may be no more calls. */
static __inline BOOLEAN GuardEnter(GUARD *Guard)
{
    LONG before = *Guard;

    while ((before & GUARD_CLOSING) == 0) {
        LONG seen = InterlockedCompareExchange(Guard, before + GUARD_ONE_CALL, before);

        if (seen == before) {
            return TRUE;
        }
        before = seen;
    }
    return FALSE;
}

/* Ends a call. TRUE: it was the last one of a guard that is closed, and the caller has to complete the detach.
 * Otherwise the memory of the guard may be gone when this returns. */
static __inline BOOLEAN GuardLeave(GUARD *Guard)
{
    return InterlockedExchangeAdd(Guard, -GUARD_ONE_CALL) == GUARD_CLOSING + GUARD_ONE_CALL;
}

/* Lets no more calls begin. TRUE: none is in progress, the detach is complete. Otherwise the last GuardLeave completes
 * it, perhaps before this returns: the memory of the guard may be gone by then. */
static __inline BOOLEAN GuardClose(GUARD *Guard)
{
    return InterlockedOr(Guard, GUARD_CLOSING) == 0;
}

#endif
