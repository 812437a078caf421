/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The push locks of xdprtl.h, which are taken in a critical region.
 */
#pragma once

static inline void RtlAcquirePushLockExclusive(EX_PUSH_LOCK *Lock)
{
    KeEnterCriticalRegion();
    ExAcquirePushLockExclusive(Lock);
}
static inline void RtlReleasePushLockExclusive(EX_PUSH_LOCK *Lock)
{
    ExReleasePushLockExclusive(Lock);
    KeLeaveCriticalRegion();
}
