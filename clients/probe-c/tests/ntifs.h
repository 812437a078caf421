/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * As much of a kernel as client.c needs, for its test on a host: found in place of the WDK's <ntifs.h>. Memory that was
 * freed is filled with 0xDD and never used again, so that who still uses it is found out. With POOL_IS_FREED it goes
 * back to the heap, for AddressSanitizer, which sees more.
 */
#pragma once

#include <assert.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The registrar's: NMR itself and the basic types. */
#include <netioddk.h>
#include <nmr_registrar.h>

#define _NTDEF_
#define GUID_DEFINED

typedef uint8_t UINT8, BOOLEAN;
typedef uint16_t UINT16;
typedef uint32_t UINT32;
typedef uint64_t UINT64;
typedef int64_t LONG64;
typedef size_t SIZE_T;
typedef struct _DRIVER_OBJECT DRIVER_OBJECT;
typedef struct _UNICODE_STRING UNICODE_STRING;

#define FALSE 0
#define TRUE 1
#define STATUS_DEVICE_NOT_READY ((NTSTATUS)0xC00000A3)
#define C_ASSERT(condition) _Static_assert(condition, #condition)
#define CONTAINING_RECORD(address, type, field) ((type *)(void *)((char *)(address)-offsetof(type, field)))
#define NT_ASSERT(condition) assert(condition)
#define UNREFERENCED_PARAMETER(parameter) ((void)(parameter))
#define RtlCopyMemory memcpy
#define RtlZeroMemory(destination, length) memset(destination, 0, length)

/* ---- Pool -------------------------------------------------------------------------------------------------------- */

#define POOL_FLAG_NON_PAGED 0x40

/* How many blocks there are, and how many allocations are to fail from now on. */
static long PoolBlocks;
static long PoolFailures;

static inline void *ExAllocatePool2(UINT64 flags, SIZE_T length, ULONG tag)
{
    SIZE_T *block;

    assert(flags == POOL_FLAG_NON_PAGED && tag != 0 && nmr_registrar_irql() <= DISPATCH_LEVEL);
    if (PoolFailures > 0) {
        PoolFailures--;
        return NULL;
    }
    __atomic_add_fetch(&PoolBlocks, 1, __ATOMIC_RELAXED);
    block = calloc(1, 16 + length);
    assert(block != NULL);
    *block = length;
    return (char *)block + 16;
}

static inline void ExFreePoolWithTag(void *block, ULONG tag)
{
    assert(tag != 0);
    __atomic_sub_fetch(&PoolBlocks, 1, __ATOMIC_RELAXED);
#ifdef POOL_IS_FREED
    free((char *)block - 16);
#else
    memset(block, 0xdd, *(SIZE_T *)(void *)((char *)block - 16));
#endif
}

/* ---- Interlocked ------------------------------------------------------------------------------------------------- */

static inline LONG InterlockedCompareExchange(volatile LONG *target, LONG value, LONG expected)
{
    __atomic_compare_exchange_n(target, &expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return expected;
}

static inline LONG64 InterlockedCompareExchange64(volatile LONG64 *target, LONG64 value, LONG64 expected)
{
    __atomic_compare_exchange_n(target, &expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return expected;
}

static inline LONG InterlockedExchangeAdd(volatile LONG *target, LONG value)
{
    return __atomic_fetch_add(target, value, __ATOMIC_SEQ_CST);
}

static inline LONG InterlockedOr(volatile LONG *target, LONG value)
{
    return __atomic_fetch_or(target, value, __ATOMIC_SEQ_CST);
}

/* ---- Spin locks -------------------------------------------------------------------------------------------------- */

typedef char KSPIN_LOCK;

static inline void KeInitializeSpinLock(KSPIN_LOCK *lock)
{
    *lock = 0;
}

static inline void SpinLockAcquire(KSPIN_LOCK *lock, KIRQL *irql)
{
    *irql = nmr_registrar_set_irql(DISPATCH_LEVEL);
    while (__atomic_test_and_set(lock, __ATOMIC_ACQUIRE)) {
        sched_yield();
    }
}
#define KeAcquireSpinLock SpinLockAcquire

static inline void KeReleaseSpinLock(KSPIN_LOCK *lock, KIRQL irql)
{
    __atomic_clear(lock, __ATOMIC_RELEASE);
    nmr_registrar_set_irql(irql);
}

/* ---- Critical regions -------------------------------------------------------------------------------------------- */

/* In how many of them the thread is. */
static __thread long CriticalRegions;

static inline KIRQL KeGetCurrentIrql(void)
{
    return (KIRQL)nmr_registrar_irql();
}

static inline void KeEnterCriticalRegion(void)
{
    assert(nmr_registrar_irql() < DISPATCH_LEVEL);
    CriticalRegions++;
}

static inline void KeLeaveCriticalRegion(void)
{
    assert(nmr_registrar_irql() < DISPATCH_LEVEL && CriticalRegions > 0);
    CriticalRegions--;
}

/* ---- Lists ------------------------------------------------------------------------------------------------------- */

typedef struct _LIST_ENTRY {
    struct _LIST_ENTRY *Flink;
    struct _LIST_ENTRY *Blink;
} LIST_ENTRY;

static inline void InitializeListHead(LIST_ENTRY *head)
{
    head->Flink = head->Blink = head;
}

static inline BOOLEAN IsListEmpty(const LIST_ENTRY *head)
{
    return head->Flink == head;
}

static inline void InsertTailList(LIST_ENTRY *head, LIST_ENTRY *entry)
{
    entry->Flink = head;
    entry->Blink = head->Blink;
    head->Blink->Flink = entry;
    head->Blink = entry;
}

static inline void RemoveEntryList(LIST_ENTRY *entry)
{
    entry->Blink->Flink = entry->Flink;
    entry->Flink->Blink = entry->Blink;
}
