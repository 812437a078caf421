/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * As much of ntddk.h as NMR code of drivers uses, for tests of it on a host: pool, spin locks and other locks, events,
 * rundown protection, interlocked operations, lists, strings, and values of the registry. Put this folder first in the
 * include path, and link libnmr_registrar_c.a, whose IRQL these functions keep. Needs GCC or clang.
 *
 * What a kernel would stop the machine for ends the process with a message: a wait at DISPATCH_LEVEL, a lock that is
 * released by somebody else, memory that is freed twice or under another tag. Memory that was freed reads as 0xDD until
 * it is used again; memory that nobody has cleared reads as 0xCD. Every wait lets the other threads of
 * nmr_registrar_run_threads go on, so drivers that wait for each other run in the order of a seed too.
 *
 * ULONG has 32 bits here as on Windows, and unsigned long may not: code that takes the one for the other in a callback
 * or through a pointer needs -Wno-incompatible-pointer-types, and with clang -Wno-incompatible-function-pointer-types.
 * WCHAR is the wchar_t of the host.
 */
#ifndef KM_NTDDK_H
#define KM_NTDDK_H

#include "sal.h"
#include "guiddef.h"
#include "../nmr_registrar.h"
#include "../nmr_types.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Basic types ------------------------------------------------------------------------------------------------- */

#define CONST const
#define IN
#define OUT
#define OPTIONAL
#define FORCEINLINE static inline
#define __forceinline static inline
#define DECLSPEC_IMPORT
#define DECLSPEC_NOINLINE __attribute__((noinline))
#define DECLSPEC_ALIGN(Bytes) __attribute__((aligned(Bytes)))
#define C_ASSERT(Condition) typedef char KM_CONCAT(KmAssert, __LINE__)[(Condition) ? 1 : -1] __attribute__((unused))
#define KM_CONCAT(Left, Right) KM_CONCAT_(Left, Right)
#define KM_CONCAT_(Left, Right) Left##Right

typedef char CHAR, CCHAR, *PCHAR, *PSTR;
typedef const char *PCSTR, *PCSZ;
typedef wchar_t WCHAR, *PWCHAR, *PWCH, *PWSTR;
typedef const wchar_t *PCWSTR, *PCWCH;
typedef short SHORT, CSHORT;
typedef int INT;
typedef unsigned int UINT;
typedef int8_t INT8;
typedef int16_t INT16;
typedef int32_t INT32, LONG32;
typedef int64_t INT64, LONG64, LONGLONG, *PLONG64, *PLONGLONG;
typedef uint8_t UINT8, BYTE, *PUINT8;
typedef uint16_t UINT16, WORD, *PUINT16;
typedef uint32_t UINT32, DWORD, ULONG32, LOGICAL, *PUINT32;
typedef uint64_t UINT64, ULONG64, ULONGLONG, DWORD64, *PUINT64, *PULONG64, *PULONGLONG;
typedef intptr_t INT_PTR, LONG_PTR, SSIZE_T;
typedef uintptr_t UINT_PTR, ULONG_PTR, DWORD_PTR, KAFFINITY;
typedef size_t SIZE_T, *PSIZE_T;
typedef UCHAR *PUCHAR, KPROCESSOR_MODE;
typedef BOOLEAN *PBOOLEAN;
typedef USHORT *PUSHORT;
typedef LONG *PLONG, KPRIORITY;
typedef ULONG *PULONG, ACCESS_MASK, DEVICE_TYPE;
typedef KIRQL *PKIRQL;
typedef NTSTATUS *PNTSTATUS;
typedef GUID *LPGUID;
typedef LUID *PLUID;

typedef union _LARGE_INTEGER {
    struct {
        ULONG LowPart;
        LONG HighPart;
    } u;
    LONGLONG QuadPart;
} LARGE_INTEGER, *PLARGE_INTEGER;

#define MAXUINT8 ((UINT8)~0)
#define MAXUINT16 ((UINT16)~0)
#define MAXUINT32 ((UINT32)~0)
#define MAXULONG ((ULONG)~0)
#define MAXUSHORT ((USHORT)~0)
#define MAXUINT64 ((UINT64)~0)

#define NT_INFORMATION(Status) ((ULONG)(Status) >> 30 == 1)
#define NT_WARNING(Status) ((ULONG)(Status) >> 30 == 2)
#define NT_ERROR(Status) ((ULONG)(Status) >> 30 == 3)
#define STATUS_TIMEOUT ((NTSTATUS)0x00000102)
#define STATUS_UNSUCCESSFUL ((NTSTATUS)0xC0000001)
#define STATUS_NOT_IMPLEMENTED ((NTSTATUS)0xC0000002)
#define STATUS_INVALID_HANDLE ((NTSTATUS)0xC0000008)
#define STATUS_NO_MEMORY ((NTSTATUS)0xC0000017)
#define STATUS_ACCESS_DENIED ((NTSTATUS)0xC0000022)
#define STATUS_BUFFER_TOO_SMALL ((NTSTATUS)0xC0000023)
#define STATUS_OBJECT_TYPE_MISMATCH ((NTSTATUS)0xC0000024)
#define STATUS_OBJECT_NAME_NOT_FOUND ((NTSTATUS)0xC0000034)
#define STATUS_OBJECT_NAME_COLLISION ((NTSTATUS)0xC0000035)
#define STATUS_DELETE_PENDING ((NTSTATUS)0xC0000056)
#define STATUS_INTEGER_OVERFLOW ((NTSTATUS)0xC0000095)
#define STATUS_DEVICE_NOT_READY ((NTSTATUS)0xC00000A3)
#define STATUS_NOT_SUPPORTED ((NTSTATUS)0xC00000BB)
#define STATUS_INTERNAL_ERROR ((NTSTATUS)0xC00000E5)
#define STATUS_INVALID_DEVICE_STATE ((NTSTATUS)0xC0000184)
#define STATUS_CANCELLED ((NTSTATUS)0xC0000120)
#define STATUS_NOT_FOUND ((NTSTATUS)0xC0000225)
#define RPC_NT_UUID_LOCAL_ONLY ((NTSTATUS)0x40020056)

#define UNREFERENCED_PARAMETER(Parameter) ((void)(Parameter))
#define DBG_UNREFERENCED_PARAMETER(Parameter) ((void)(Parameter))
#define UNREFERENCED_LOCAL_VARIABLE(Variable) ((void)(Variable))
#define ARGUMENT_PRESENT(Pointer) ((Pointer) != NULL)
#define FIELD_OFFSET(Type, Field) ((LONG)offsetof(Type, Field))
#define CONTAINING_RECORD(Address, Type, Field) ((Type *)(void *)((char *)(Address)-offsetof(Type, Field)))
#define RTL_FIELD_SIZE(Type, Field) (sizeof(((Type *)0)->Field))
#define RTL_SIZEOF_THROUGH_FIELD(Type, Field) (offsetof(Type, Field) + RTL_FIELD_SIZE(Type, Field))
#define RTL_NUMBER_OF(Array) (sizeof(Array) / sizeof((Array)[0]))
#define ARRAYSIZE RTL_NUMBER_OF
#define RTL_PTR_ADD(Pointer, Bytes) ((PVOID)((ULONG_PTR)(Pointer) + (ULONG_PTR)(Bytes)))

/* ---- The end of the process -------------------------------------------------------------------------------------- */

/* Says what has happened and where, and aborts: what a bug check is to a kernel. */
__attribute__((noreturn)) static inline void KmStop(const char *Where, const char *What)
{
    fprintf(stderr, "nmr-registrar: %s: %s\n", Where, What);
    fflush(stderr);
    abort();
}

__attribute__((noreturn)) static inline void KeBugCheckEx(ULONG Code, ULONG_PTR P1, ULONG_PTR P2, ULONG_PTR P3,
                                                          ULONG_PTR P4)
{
    fprintf(stderr, "nmr-registrar: bug check 0x%x (0x%zx, 0x%zx, 0x%zx, 0x%zx)\n", (unsigned)Code, (size_t)P1,
            (size_t)P2, (size_t)P3, (size_t)P4);
    abort();
}

#define KM_TEXT(Line) KM_TEXT_(Line)
#define KM_TEXT_(Line) #Line
#define KM_HERE __FILE__ ":" KM_TEXT(__LINE__)
#define NT_ASSERT(Condition) ((Condition) ? (void)0 : KmStop(KM_HERE, #Condition " does not hold"))
#define NT_ASSERTMSG(Message, Condition) ((Condition) ? (void)0 : KmStop(KM_HERE, Message))
#define NT_VERIFY NT_ASSERT
#define NT_FRE_ASSERT NT_ASSERT
#define ASSERT NT_ASSERT
#define ASSERTMSG NT_ASSERTMSG
#define DbgRaiseAssertionFailure() KmStop(KM_HERE, "an assertion of the driver failed")
#define RtlFailFast(Code) KmStop(KM_HERE, "fast failure " #Code)
#define DbgBreakPoint() KmStop(KM_HERE, "a break point")

#define DPFLTR_IHVDRIVER_ID 77
#define DPFLTR_ERROR_LEVEL 0
#define DPFLTR_WARNING_LEVEL 1
#define DPFLTR_TRACE_LEVEL 2
#define DPFLTR_INFO_LEVEL 3
static inline ULONG DbgPrintEx(ULONG Component, ULONG Level, PCSTR Format, ...)
{
    va_list Arguments;

    UNREFERENCED_PARAMETER(Component);
    UNREFERENCED_PARAMETER(Level);
    va_start(Arguments, Format);
    vfprintf(stderr, Format, Arguments);
    va_end(Arguments);
    return STATUS_SUCCESS;
}
#define DbgPrint(...) DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_INFO_LEVEL, __VA_ARGS__)
#define KdPrintEx(Arguments) ((void)DbgPrintEx Arguments)
#define KdPrint(Arguments) ((void)DbgPrint Arguments)

/* ---- IRQL -------------------------------------------------------------------------------------------------------- */

#define HIGH_LEVEL 15

static inline KIRQL KeGetCurrentIrql(void)
{
    return nmr_registrar_irql();
}
static inline void KmAtMost(KIRQL Level, const char *Function)
{
    if (KeGetCurrentIrql() > Level)
        KmStop(Function, Level == DISPATCH_LEVEL ? "called above DISPATCH_LEVEL" : "called at DISPATCH_LEVEL or above");
}
static inline KIRQL KfRaiseIrql(KIRQL Level)
{
    if (KeGetCurrentIrql() > Level)
        KmStop("KeRaiseIrql", "the thread is above that level");
    return nmr_registrar_set_irql(Level);
}
static inline void KeLowerIrql(KIRQL Level)
{
    if (KeGetCurrentIrql() < Level)
        KmStop("KeLowerIrql", "the thread is below that level");
    nmr_registrar_set_irql(Level);
}
#define KeRaiseIrql(Level, Old) (*(Old) = KfRaiseIrql(Level))
#define KeRaiseIrqlToDpcLevel() KfRaiseIrql(DISPATCH_LEVEL)
#define PAGED_CODE() KmAtMost(APC_LEVEL, __func__)
#define PAGED_CODE_LOCKED() ((void)0)

/* Critical regions hold off what a host does not have: asynchronous procedure calls. */
static inline void KeEnterCriticalRegion(void) {}
static inline void KeLeaveCriticalRegion(void) {}

/* ---- Interlocked operations -------------------------------------------------------------------------------------- */

static inline LONG InterlockedIncrement(volatile LONG *Target)
{
    return __atomic_add_fetch(Target, 1, __ATOMIC_SEQ_CST);
}
static inline LONG InterlockedDecrement(volatile LONG *Target)
{
    return __atomic_sub_fetch(Target, 1, __ATOMIC_SEQ_CST);
}
static inline LONG InterlockedExchange(volatile LONG *Target, LONG Value)
{
    return __atomic_exchange_n(Target, Value, __ATOMIC_SEQ_CST);
}
static inline LONG InterlockedExchangeAdd(volatile LONG *Target, LONG Value)
{
    return __atomic_fetch_add(Target, Value, __ATOMIC_SEQ_CST);
}
static inline LONG InterlockedAdd(volatile LONG *Target, LONG Value)
{
    return __atomic_add_fetch(Target, Value, __ATOMIC_SEQ_CST);
}
static inline LONG InterlockedOr(volatile LONG *Target, LONG Value)
{
    return __atomic_fetch_or(Target, Value, __ATOMIC_SEQ_CST);
}
static inline LONG InterlockedAnd(volatile LONG *Target, LONG Value)
{
    return __atomic_fetch_and(Target, Value, __ATOMIC_SEQ_CST);
}
static inline LONG InterlockedXor(volatile LONG *Target, LONG Value)
{
    return __atomic_fetch_xor(Target, Value, __ATOMIC_SEQ_CST);
}
static inline LONG InterlockedCompareExchange(volatile LONG *Target, LONG Value, LONG Expected)
{
    __atomic_compare_exchange_n(Target, &Expected, Value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return Expected;
}
static inline LONG64 InterlockedIncrement64(volatile LONG64 *Target)
{
    return __atomic_add_fetch(Target, 1, __ATOMIC_SEQ_CST);
}
static inline LONG64 InterlockedDecrement64(volatile LONG64 *Target)
{
    return __atomic_sub_fetch(Target, 1, __ATOMIC_SEQ_CST);
}
static inline LONG64 InterlockedExchange64(volatile LONG64 *Target, LONG64 Value)
{
    return __atomic_exchange_n(Target, Value, __ATOMIC_SEQ_CST);
}
static inline LONG64 InterlockedExchangeAdd64(volatile LONG64 *Target, LONG64 Value)
{
    return __atomic_fetch_add(Target, Value, __ATOMIC_SEQ_CST);
}
static inline LONG64 InterlockedAdd64(volatile LONG64 *Target, LONG64 Value)
{
    return __atomic_add_fetch(Target, Value, __ATOMIC_SEQ_CST);
}
static inline LONG64 InterlockedOr64(volatile LONG64 *Target, LONG64 Value)
{
    return __atomic_fetch_or(Target, Value, __ATOMIC_SEQ_CST);
}
static inline LONG64 InterlockedCompareExchange64(volatile LONG64 *Target, LONG64 Value, LONG64 Expected)
{
    __atomic_compare_exchange_n(Target, &Expected, Value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return Expected;
}
static inline PVOID KmExchangePointer(PVOID volatile *Target, PVOID Value)
{
    return __atomic_exchange_n(Target, Value, __ATOMIC_SEQ_CST);
}
static inline PVOID KmCompareExchangePointer(PVOID volatile *Target, PVOID Value, PVOID Expected)
{
    __atomic_compare_exchange_n(Target, &Expected, Value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return Expected;
}
/* Their callers pass pointers to pointers of any type. */
#define InterlockedExchangePointer(Target, Value) KmExchangePointer((PVOID volatile *)(Target), (PVOID)(Value))
#define InterlockedCompareExchangePointer(Target, Value, Expected) \
    KmCompareExchangePointer((PVOID volatile *)(Target), (PVOID)(Value), (PVOID)(Expected))

#define ReadAcquire(Source) __atomic_load_n(Source, __ATOMIC_ACQUIRE)
#define ReadNoFence(Source) __atomic_load_n(Source, __ATOMIC_RELAXED)
#define WriteRelease(Target, Value) __atomic_store_n(Target, Value, __ATOMIC_RELEASE)
#define WriteNoFence(Target, Value) __atomic_store_n(Target, Value, __ATOMIC_RELAXED)
#define ReadULongAcquire ReadAcquire
#define ReadULongNoFence ReadNoFence
#define ReadULong64Acquire ReadAcquire
#define ReadULong64NoFence ReadNoFence
#define WriteULong64NoFence WriteNoFence
#define ReadPointerAcquire ReadAcquire
#define ReadPointerNoFence ReadNoFence
#define WritePointerRelease WriteRelease
#define WritePointerNoFence WriteNoFence
#define KeMemoryBarrier() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define MemoryBarrier KeMemoryBarrier
#define YieldProcessor nmr_registrar_give_way

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

#define RtlCopyMemory(Target, Source, Length) memcpy(Target, Source, Length)
#define RtlMoveMemory(Target, Source, Length) memmove(Target, Source, Length)
#define RtlFillMemory(Target, Length, Byte) memset(Target, Byte, Length)
#define RtlZeroMemory(Target, Length) memset(Target, 0, Length)
#define RtlSecureZeroMemory RtlZeroMemory
#define RtlEqualMemory(Left, Right, Length) (memcmp(Left, Right, Length) == 0)
static inline SIZE_T RtlCompareMemory(const void *Left, const void *Right, SIZE_T Length)
{
    SIZE_T Equal = 0;

    while (Equal < Length && ((const UCHAR *)Left)[Equal] == ((const UCHAR *)Right)[Equal])
        Equal++;
    return Equal;
}

typedef enum _POOL_TYPE { NonPagedPool = 0, PagedPool = 1, NonPagedPoolNx = 512 } POOL_TYPE;
typedef ULONG64 POOL_FLAGS;
#define POOL_FLAG_UNINITIALIZED 0x2ULL
#define POOL_FLAG_CACHE_ALIGNED 0x8ULL
#define POOL_FLAG_NON_PAGED 0x40ULL
#define POOL_FLAG_NON_PAGED_EXECUTE 0x80ULL
#define POOL_FLAG_PAGED 0x100ULL

/* One state for all files that include this: how many blocks there are, and which allocation fails. */
__attribute__((weak)) LONG64 KmPoolBlocks;
__attribute__((weak)) LONG64 KmPoolFailsAfter = -1;

/* For tests: how many blocks of pool are allocated. */
static inline SIZE_T km_pool_blocks(void)
{
    return (SIZE_T)__atomic_load_n(&KmPoolBlocks, __ATOMIC_SEQ_CST);
}
/* For tests: lets an allocation fail once, after `after` that succeed. */
static inline void km_pool_fail(SIZE_T after)
{
    InterlockedExchange64(&KmPoolFailsAfter, (LONG64)after);
}

typedef struct _KM_BLOCK {
    SIZE_T Length;
    ULONG Tag;
    ULONG State;
} KM_BLOCK;
#define KM_ALIVE 0x4C4F4F50u
#define KM_FREED 0x45455246u

static inline PVOID KmAllocate(BOOLEAN Paged, BOOLEAN Zero, SIZE_T Length, ULONG Tag)
{
    KM_BLOCK *Block;

    KmAtMost(Paged ? APC_LEVEL : DISPATCH_LEVEL, "ExAllocatePool*");
    if (Tag == 0)
        KmStop("ExAllocatePool*", "the tag is 0");
    if (__atomic_load_n(&KmPoolFailsAfter, __ATOMIC_SEQ_CST) >= 0 && InterlockedDecrement64(&KmPoolFailsAfter) == -1)
        return NULL;
    Block = (KM_BLOCK *)malloc(sizeof *Block + Length);
    if (Block == NULL)
        return NULL;
    Block->Length = Length;
    Block->Tag = Tag;
    Block->State = KM_ALIVE;
    memset(Block + 1, Zero ? 0 : 0xCD, Length);
    InterlockedIncrement64(&KmPoolBlocks);
    return Block + 1;
}
static inline void KmFree(PVOID Pointer, ULONG Tag)
{
    KM_BLOCK *Block = (KM_BLOCK *)Pointer - 1;

    KmAtMost(DISPATCH_LEVEL, "ExFreePool*");
    if (Pointer == NULL)
        KmStop("ExFreePool*", "the pointer is NULL");
    if (Block->State != KM_ALIVE)
        KmStop("ExFreePool*", Block->State == KM_FREED ? "the block was freed before" : "that is not a block of pool");
    if (Tag != 0 && Tag != Block->Tag)
        KmStop("ExFreePoolWithTag", "the block was allocated with another tag");
    memset(Pointer, 0xDD, Block->Length);
    Block->State = KM_FREED;
    InterlockedDecrement64(&KmPoolBlocks);
    free(Block);
}
static inline PVOID ExAllocatePool2(POOL_FLAGS Flags, SIZE_T Length, ULONG Tag)
{
    return KmAllocate((Flags & POOL_FLAG_PAGED) != 0, !(Flags & POOL_FLAG_UNINITIALIZED), Length, Tag);
}
static inline PVOID ExAllocatePoolZero(POOL_TYPE Type, SIZE_T Length, ULONG Tag)
{
    return KmAllocate(Type == PagedPool, TRUE, Length, Tag);
}
static inline PVOID ExAllocatePoolUninitialized(POOL_TYPE Type, SIZE_T Length, ULONG Tag)
{
    return KmAllocate(Type == PagedPool, FALSE, Length, Tag);
}
static inline PVOID ExAllocatePoolWithTag(POOL_TYPE Type, SIZE_T Length, ULONG Tag)
{
    return KmAllocate(Type == PagedPool, FALSE, Length, Tag);
}
static inline void ExFreePoolWithTag(PVOID Pointer, ULONG Tag)
{
    KmFree(Pointer, Tag);
}
static inline void ExFreePool(PVOID Pointer)
{
    KmFree(Pointer, 0);
}

/* ---- Waiting ----------------------------------------------------------------------------------------------------- */

/* 100-nanosecond units of a clock that only goes forward. */
static inline LONGLONG KmNow(void)
{
    struct timespec Time;

    clock_gettime(CLOCK_MONOTONIC, &Time);
    return (LONGLONG)Time.tv_sec * 10000000 + Time.tv_nsec / 100;
}
static inline void KeQuerySystemTime(PLARGE_INTEGER Now)
{
    struct timespec Time;

    clock_gettime(CLOCK_REALTIME, &Time);
    /* From 1601 to 1970. */
    Now->QuadPart = ((LONGLONG)Time.tv_sec + 11644473600LL) * 10000000 + Time.tv_nsec / 100;
}
#define KeQuerySystemTimePrecise KeQuerySystemTime
/* When a relative (negative) or absolute timeout ends, by KmNow. */
static inline LONGLONG KmDeadline(PLARGE_INTEGER Timeout)
{
    LARGE_INTEGER Now;

    if (Timeout->QuadPart <= 0)
        return KmNow() - Timeout->QuadPart;
    KeQuerySystemTime(&Now);
    return KmNow() + Timeout->QuadPart - Now.QuadPart;
}

typedef enum _EVENT_TYPE { NotificationEvent, SynchronizationEvent } EVENT_TYPE;
typedef enum _KWAIT_REASON { Executive } KWAIT_REASON;
typedef enum _MODE { KernelMode, UserMode } MODE;
#define IO_NO_INCREMENT 0

typedef struct _KEVENT {
    EVENT_TYPE Type;
    LONG State;
} KEVENT, *PKEVENT, *PRKEVENT;

static inline void KeInitializeEvent(PRKEVENT Event, EVENT_TYPE Type, BOOLEAN State)
{
    Event->Type = Type;
    __atomic_store_n(&Event->State, State != 0, __ATOMIC_SEQ_CST);
}
static inline LONG KeSetEvent(PRKEVENT Event, KPRIORITY Increment, BOOLEAN Wait)
{
    UNREFERENCED_PARAMETER(Increment);
    KmAtMost(Wait ? APC_LEVEL : DISPATCH_LEVEL, "KeSetEvent");
    return InterlockedExchange(&Event->State, 1);
}
static inline LONG KeResetEvent(PRKEVENT Event)
{
    return InterlockedExchange(&Event->State, 0);
}
static inline void KeClearEvent(PRKEVENT Event)
{
    KeResetEvent(Event);
}
static inline LONG KeReadStateEvent(PRKEVENT Event)
{
    return __atomic_load_n(&Event->State, __ATOMIC_SEQ_CST);
}
/* For events, the only objects that can be waited for here. */
static inline NTSTATUS KeWaitForSingleObject(PVOID Object, KWAIT_REASON Reason, KPROCESSOR_MODE Mode, BOOLEAN Alertable,
                                             PLARGE_INTEGER Timeout)
{
    KEVENT *Event = (KEVENT *)Object;
    LONGLONG Deadline = Timeout ? KmDeadline(Timeout) : 0;

    UNREFERENCED_PARAMETER(Reason);
    UNREFERENCED_PARAMETER(Mode);
    UNREFERENCED_PARAMETER(Alertable);
    KmAtMost(Timeout && Timeout->QuadPart == 0 ? DISPATCH_LEVEL : APC_LEVEL, "KeWaitForSingleObject");
    for (;;) {
        if (Event->Type == NotificationEvent ? KeReadStateEvent(Event) != 0 : KeResetEvent(Event) != 0)
            return STATUS_SUCCESS;
        if (Timeout && KmNow() >= Deadline)
            return STATUS_TIMEOUT;
        nmr_registrar_give_way();
    }
}
static inline NTSTATUS KeDelayExecutionThread(KPROCESSOR_MODE Mode, BOOLEAN Alertable, PLARGE_INTEGER Interval)
{
    LONGLONG Deadline = KmDeadline(Interval);

    UNREFERENCED_PARAMETER(Mode);
    UNREFERENCED_PARAMETER(Alertable);
    KmAtMost(APC_LEVEL, "KeDelayExecutionThread");
    while (KmNow() < Deadline)
        nmr_registrar_give_way();
    return STATUS_SUCCESS;
}

/* ---- Locks ------------------------------------------------------------------------------------------------------- */

/* One word for all of them: 0 is free, -1 held alone, a positive number is how many share it. */
static inline BOOLEAN KmTryExclusive(volatile LONG *Lock)
{
    return InterlockedCompareExchange(Lock, -1, 0) == 0;
}
static inline BOOLEAN KmTryShared(volatile LONG *Lock)
{
    LONG Sharers = __atomic_load_n(Lock, __ATOMIC_SEQ_CST);

    return Sharers >= 0 && InterlockedCompareExchange(Lock, Sharers + 1, Sharers) == Sharers;
}
static inline void KmLockExclusive(volatile LONG *Lock)
{
    while (!KmTryExclusive(Lock))
        nmr_registrar_give_way();
}
static inline void KmLockShared(volatile LONG *Lock)
{
    while (!KmTryShared(Lock))
        nmr_registrar_give_way();
}
static inline void KmUnlockExclusive(volatile LONG *Lock, const char *Function)
{
    if (InterlockedCompareExchange(Lock, 0, -1) != -1)
        KmStop(Function, "nobody holds that lock");
}
static inline void KmUnlockShared(volatile LONG *Lock, const char *Function)
{
    if (InterlockedDecrement(Lock) < 0)
        KmStop(Function, "nobody shares that lock");
}

typedef volatile LONG KSPIN_LOCK, *PKSPIN_LOCK, EX_SPIN_LOCK, *PEX_SPIN_LOCK;
typedef struct _KLOCK_QUEUE_HANDLE {
    PKSPIN_LOCK Lock;
    KIRQL OldIrql;
} KLOCK_QUEUE_HANDLE, *PKLOCK_QUEUE_HANDLE;

static inline void KeInitializeSpinLock(PKSPIN_LOCK Lock)
{
    *Lock = 0;
}
static inline KIRQL KeAcquireSpinLockRaiseToDpc(PKSPIN_LOCK Lock)
{
    KIRQL Old = KfRaiseIrql(DISPATCH_LEVEL);

    KmLockExclusive(Lock);
    return Old;
}
#define KeAcquireSpinLock(Lock, Old) (*(Old) = KeAcquireSpinLockRaiseToDpc(Lock))
static inline void KeReleaseSpinLock(PKSPIN_LOCK Lock, KIRQL Old)
{
    KmUnlockExclusive(Lock, "KeReleaseSpinLock");
    KeLowerIrql(Old);
}
static inline void KeAcquireSpinLockAtDpcLevel(PKSPIN_LOCK Lock)
{
    if (KeGetCurrentIrql() < DISPATCH_LEVEL)
        KmStop("KeAcquireSpinLockAtDpcLevel", "called below DISPATCH_LEVEL");
    KmLockExclusive(Lock);
}
static inline void KeReleaseSpinLockFromDpcLevel(PKSPIN_LOCK Lock)
{
    KmUnlockExclusive(Lock, "KeReleaseSpinLockFromDpcLevel");
}
static inline void KeAcquireInStackQueuedSpinLock(PKSPIN_LOCK Lock, PKLOCK_QUEUE_HANDLE Handle)
{
    Handle->Lock = Lock;
    Handle->OldIrql = KeAcquireSpinLockRaiseToDpc(Lock);
}
static inline void KeReleaseInStackQueuedSpinLock(PKLOCK_QUEUE_HANDLE Handle)
{
    KeReleaseSpinLock(Handle->Lock, Handle->OldIrql);
}
static inline KIRQL ExAcquireSpinLockExclusive(PEX_SPIN_LOCK Lock)
{
    return KeAcquireSpinLockRaiseToDpc(Lock);
}
static inline void ExReleaseSpinLockExclusive(PEX_SPIN_LOCK Lock, KIRQL Old)
{
    KeReleaseSpinLock(Lock, Old);
}
static inline KIRQL ExAcquireSpinLockShared(PEX_SPIN_LOCK Lock)
{
    KIRQL Old = KfRaiseIrql(DISPATCH_LEVEL);

    KmLockShared(Lock);
    return Old;
}
static inline void ExReleaseSpinLockShared(PEX_SPIN_LOCK Lock, KIRQL Old)
{
    KmUnlockShared(Lock, "ExReleaseSpinLockShared");
    KeLowerIrql(Old);
}

typedef volatile LONG EX_PUSH_LOCK, *PEX_PUSH_LOCK;
static inline void ExInitializePushLock(PEX_PUSH_LOCK Lock)
{
    *Lock = 0;
}
static inline void ExAcquirePushLockExclusive(PEX_PUSH_LOCK Lock)
{
    KmAtMost(APC_LEVEL, "ExAcquirePushLockExclusive");
    KmLockExclusive(Lock);
}
static inline void ExReleasePushLockExclusive(PEX_PUSH_LOCK Lock)
{
    KmUnlockExclusive(Lock, "ExReleasePushLockExclusive");
}
static inline void ExAcquirePushLockShared(PEX_PUSH_LOCK Lock)
{
    KmAtMost(APC_LEVEL, "ExAcquirePushLockShared");
    KmLockShared(Lock);
}
static inline void ExReleasePushLockShared(PEX_PUSH_LOCK Lock)
{
    KmUnlockShared(Lock, "ExReleasePushLockShared");
}

/* Fast mutexes raise to APC_LEVEL. */
typedef struct _FAST_MUTEX {
    volatile LONG Lock;
    KIRQL OldIrql;
} FAST_MUTEX, *PFAST_MUTEX;
static inline void ExInitializeFastMutex(PFAST_MUTEX Mutex)
{
    Mutex->Lock = 0;
}
static inline void ExAcquireFastMutex(PFAST_MUTEX Mutex)
{
    KIRQL Old;

    KmAtMost(APC_LEVEL, "ExAcquireFastMutex");
    Old = KfRaiseIrql(APC_LEVEL);
    KmLockExclusive(&Mutex->Lock);
    Mutex->OldIrql = Old;
}
static inline void ExReleaseFastMutex(PFAST_MUTEX Mutex)
{
    KIRQL Old = Mutex->OldIrql;

    KmUnlockExclusive(&Mutex->Lock, "ExReleaseFastMutex");
    KeLowerIrql(Old);
}

/* Resources may be acquired again by the thread that holds them alone. */
typedef struct _ERESOURCE {
    volatile LONG Lock;
    LONG Depth;
    PVOID Owner;
} ERESOURCE, *PERESOURCE;
/* A number for each thread: the address of a variable of its own. */
static inline PVOID KmThread(void)
{
    static __thread char Own;

    return &Own;
}
static inline NTSTATUS ExInitializeResourceLite(PERESOURCE Resource)
{
    memset(Resource, 0, sizeof *Resource);
    return STATUS_SUCCESS;
}
static inline NTSTATUS ExDeleteResourceLite(PERESOURCE Resource)
{
    if (Resource->Lock != 0)
        KmStop("ExDeleteResourceLite", "somebody holds that resource");
    return STATUS_SUCCESS;
}
static inline BOOLEAN KmAcquireResource(PERESOURCE Resource, BOOLEAN Exclusive, BOOLEAN Wait)
{
    KmAtMost(APC_LEVEL, "ExAcquireResource*Lite");
    if (__atomic_load_n(&Resource->Owner, __ATOMIC_SEQ_CST) == KmThread()) {
        Resource->Depth++;
        return TRUE;
    }
    while (!(Exclusive ? KmTryExclusive(&Resource->Lock) : KmTryShared(&Resource->Lock))) {
        if (!Wait)
            return FALSE;
        nmr_registrar_give_way();
    }
    if (Exclusive)
        __atomic_store_n(&Resource->Owner, KmThread(), __ATOMIC_SEQ_CST);
    return TRUE;
}
static inline BOOLEAN ExAcquireResourceExclusiveLite(PERESOURCE Resource, BOOLEAN Wait)
{
    return KmAcquireResource(Resource, TRUE, Wait);
}
static inline BOOLEAN ExAcquireResourceSharedLite(PERESOURCE Resource, BOOLEAN Wait)
{
    return KmAcquireResource(Resource, FALSE, Wait);
}
static inline void ExReleaseResourceLite(PERESOURCE Resource)
{
    if (__atomic_load_n(&Resource->Owner, __ATOMIC_SEQ_CST) != KmThread()) {
        KmUnlockShared(&Resource->Lock, "ExReleaseResourceLite");
    } else if (Resource->Depth > 0) {
        Resource->Depth--;
    } else {
        __atomic_store_n(&Resource->Owner, (PVOID)NULL, __ATOMIC_SEQ_CST);
        KmUnlockExclusive(&Resource->Lock, "ExReleaseResourceLite");
    }
}
static inline PVOID ExEnterCriticalRegionAndAcquireResourceExclusive(PERESOURCE Resource)
{
    KeEnterCriticalRegion();
    ExAcquireResourceExclusiveLite(Resource, TRUE);
    return NULL;
}
static inline PVOID ExEnterCriticalRegionAndAcquireResourceShared(PERESOURCE Resource)
{
    KeEnterCriticalRegion();
    ExAcquireResourceSharedLite(Resource, TRUE);
    return NULL;
}
static inline void ExReleaseResourceAndLeaveCriticalRegion(PERESOURCE Resource)
{
    ExReleaseResourceLite(Resource);
    KeLeaveCriticalRegion();
}

/* ---- Rundown protection ------------------------------------------------------------------------------------------ */

/* The lowest bit says that the object is being run down, the others count. */
typedef struct _EX_RUNDOWN_REF {
    volatile LONG64 Count;
} EX_RUNDOWN_REF, *PEX_RUNDOWN_REF;

static inline void ExInitializeRundownProtection(PEX_RUNDOWN_REF Rundown)
{
    Rundown->Count = 0;
}
static inline void ExReInitializeRundownProtection(PEX_RUNDOWN_REF Rundown)
{
    if (Rundown->Count != 1)
        KmStop("ExReInitializeRundownProtection", "the object has not been run down");
    Rundown->Count = 0;
}
static inline BOOLEAN ExAcquireRundownProtection(PEX_RUNDOWN_REF Rundown)
{
    LONG64 Count = __atomic_load_n(&Rundown->Count, __ATOMIC_SEQ_CST);

    KmAtMost(DISPATCH_LEVEL, "ExAcquireRundownProtection");
    while (!(Count & 1)) {
        LONG64 Found = InterlockedCompareExchange64(&Rundown->Count, Count + 2, Count);

        if (Found == Count)
            return TRUE;
        Count = Found;
    }
    return FALSE;
}
static inline void ExReleaseRundownProtection(PEX_RUNDOWN_REF Rundown)
{
    if (InterlockedAdd64(&Rundown->Count, -2) < 0)
        KmStop("ExReleaseRundownProtection", "nobody has acquired that protection");
}
static inline void ExWaitForRundownProtectionRelease(PEX_RUNDOWN_REF Rundown)
{
    KmAtMost(APC_LEVEL, "ExWaitForRundownProtectionRelease");
    InterlockedOr64(&Rundown->Count, 1);
    while (__atomic_load_n(&Rundown->Count, __ATOMIC_SEQ_CST) != 1)
        nmr_registrar_give_way();
}
static inline void ExRundownCompleted(PEX_RUNDOWN_REF Rundown)
{
    Rundown->Count = 1;
}

/* ---- Lists ------------------------------------------------------------------------------------------------------- */

typedef struct _LIST_ENTRY {
    struct _LIST_ENTRY *Flink;
    struct _LIST_ENTRY *Blink;
} LIST_ENTRY, *PLIST_ENTRY;

static inline void InitializeListHead(PLIST_ENTRY Head)
{
    Head->Flink = Head->Blink = Head;
}
static inline BOOLEAN IsListEmpty(const LIST_ENTRY *Head)
{
    return Head->Flink == Head;
}
static inline void KmLink(PLIST_ENTRY Before, PLIST_ENTRY Entry, PLIST_ENTRY After)
{
    if (Before->Flink != After || After->Blink != Before)
        KmStop("Insert*List", "the list is corrupt");
    Entry->Blink = Before;
    Entry->Flink = After;
    Before->Flink = After->Blink = Entry;
}
static inline void InsertHeadList(PLIST_ENTRY Head, PLIST_ENTRY Entry)
{
    KmLink(Head, Entry, Head->Flink);
}
static inline void InsertTailList(PLIST_ENTRY Head, PLIST_ENTRY Entry)
{
    KmLink(Head->Blink, Entry, Head);
}
/* Returns whether the list is empty now. */
static inline BOOLEAN RemoveEntryList(PLIST_ENTRY Entry)
{
    PLIST_ENTRY Before = Entry->Blink, After = Entry->Flink;

    if (Before->Flink != Entry || After->Blink != Entry)
        KmStop("RemoveEntryList", "the list is corrupt");
    Before->Flink = After;
    After->Blink = Before;
    return Before == After;
}
static inline PLIST_ENTRY RemoveHeadList(PLIST_ENTRY Head)
{
    PLIST_ENTRY Entry = Head->Flink;

    RemoveEntryList(Entry);
    return Entry;
}
static inline PLIST_ENTRY RemoveTailList(PLIST_ENTRY Head)
{
    PLIST_ENTRY Entry = Head->Blink;

    RemoveEntryList(Entry);
    return Entry;
}

/* ---- Strings ----------------------------------------------------------------------------------------------------- */

/* Lengths are in bytes. */
typedef struct _UNICODE_STRING {
    USHORT Length;
    USHORT MaximumLength;
    PWCH Buffer;
} UNICODE_STRING, *PUNICODE_STRING;
typedef const UNICODE_STRING *PCUNICODE_STRING;
typedef struct _STRING {
    USHORT Length;
    USHORT MaximumLength;
    PCHAR Buffer;
} STRING, ANSI_STRING, *PSTRING, *PANSI_STRING;

#define UNICODE_NULL ((WCHAR)0)
#define RTL_CONSTANT_STRING(Text) {sizeof(Text) - sizeof((Text)[0]), sizeof(Text), (Text)}
#define DECLARE_CONST_UNICODE_STRING(Name, Text) \
    const WCHAR Name##_buffer[] = Text;          \
    const UNICODE_STRING Name = {sizeof(Text) - sizeof(WCHAR), sizeof(Text), (PWCH)Name##_buffer}

static inline void RtlInitUnicodeString(PUNICODE_STRING String, PCWSTR Text)
{
    SIZE_T Length = Text ? wcslen(Text) * sizeof(WCHAR) : 0;

    if (Length > MAXUSHORT - sizeof(WCHAR))
        KmStop("RtlInitUnicodeString", "the text is too long");
    String->Length = (USHORT)Length;
    String->MaximumLength = (USHORT)(Text ? Length + sizeof(WCHAR) : 0);
    String->Buffer = (PWCH)Text;
}
static inline void RtlCopyUnicodeString(PUNICODE_STRING Target, PCUNICODE_STRING Source)
{
    USHORT Length = Source ? Source->Length : 0;

    if (Length > Target->MaximumLength)
        Length = Target->MaximumLength;
    Target->Length = Length;
    if (Length > 0)
        memmove(Target->Buffer, Source->Buffer, Length);
}
static inline WCHAR RtlUpcaseUnicodeChar(WCHAR Character)
{
    return Character >= L'a' && Character <= L'z' ? Character - (L'a' - L'A') : Character;
}
/* Case is folded for ASCII alone. */
static inline LONG RtlCompareUnicodeString(PCUNICODE_STRING Left, PCUNICODE_STRING Right, BOOLEAN IgnoreCase)
{
    SIZE_T Index, Length = (Left->Length < Right->Length ? Left->Length : Right->Length) / sizeof(WCHAR);

    for (Index = 0; Index < Length; Index++) {
        WCHAR L = Left->Buffer[Index], R = Right->Buffer[Index];

        if (IgnoreCase) {
            L = RtlUpcaseUnicodeChar(L);
            R = RtlUpcaseUnicodeChar(R);
        }
        if (L != R)
            return L < R ? -1 : 1;
    }
    return (LONG)Left->Length - (LONG)Right->Length;
}
static inline BOOLEAN RtlEqualUnicodeString(PCUNICODE_STRING Left, PCUNICODE_STRING Right, BOOLEAN IgnoreCase)
{
    return RtlCompareUnicodeString(Left, Right, IgnoreCase) == 0;
}

/* ---- Drivers ----------------------------------------------------------------------------------------------------- */

typedef struct _DEVICE_OBJECT DEVICE_OBJECT, *PDEVICE_OBJECT;
typedef struct _IRP IRP, *PIRP;
struct _DRIVER_OBJECT;
typedef NTSTATUS DRIVER_INITIALIZE(struct _DRIVER_OBJECT *DriverObject, PUNICODE_STRING RegistryPath);
typedef DRIVER_INITIALIZE *PDRIVER_INITIALIZE;
typedef VOID DRIVER_UNLOAD(struct _DRIVER_OBJECT *DriverObject);
typedef DRIVER_UNLOAD *PDRIVER_UNLOAD;
/* What a test of DriverEntry needs to call DriverUnload. */
typedef struct _DRIVER_OBJECT {
    PDEVICE_OBJECT DeviceObject;
    PVOID DriverStart;
    ULONG DriverSize;
    UNICODE_STRING DriverName;
    PDRIVER_UNLOAD DriverUnload;
} DRIVER_OBJECT, *PDRIVER_OBJECT;

static inline NTSTATUS ExUuidCreate(GUID *Uuid)
{
    FILE *Random;
    SIZE_T Read;

    KmAtMost(APC_LEVEL, "ExUuidCreate");
    Random = fopen("/dev/urandom", "rb");
    Read = Random ? fread(Uuid, 1, sizeof *Uuid, Random) : 0;
    if (Random)
        fclose(Random);
    if (Read != sizeof *Uuid)
        KmStop("ExUuidCreate", "/dev/urandom cannot be read");
    /* Version 4, variant 1. */
    Uuid->Data3 = (USHORT)((Uuid->Data3 & 0x0FFF) | 0x4000);
    Uuid->Data4[0] = (UCHAR)((Uuid->Data4[0] & 0x3F) | 0x80);
    return STATUS_SUCCESS;
}

/* ---- Values of the registry -------------------------------------------------------------------------------------- */

#define REG_NONE 0
#define REG_SZ 1
#define REG_BINARY 3
#define REG_DWORD 4
#define REG_QWORD 11
#define RTL_REGISTRY_ABSOLUTE 0
#define RTL_REGISTRY_SERVICES 1
#define RTL_QUERY_REGISTRY_SUBKEY 0x01
#define RTL_QUERY_REGISTRY_TOPKEY 0x02
#define RTL_QUERY_REGISTRY_REQUIRED 0x04
#define RTL_QUERY_REGISTRY_NOVALUE 0x08
#define KM_REGISTRY_FLAGS \
    ((ULONG)(RTL_QUERY_REGISTRY_SUBKEY | RTL_QUERY_REGISTRY_TOPKEY | RTL_QUERY_REGISTRY_REQUIRED))

typedef NTSTATUS RTL_QUERY_REGISTRY_ROUTINE(PCWSTR ValueName, ULONG ValueType, PVOID ValueData, ULONG ValueLength,
                                            PVOID Context, PVOID EntryContext);
typedef RTL_QUERY_REGISTRY_ROUTINE *PRTL_QUERY_REGISTRY_ROUTINE;
typedef struct _RTL_QUERY_REGISTRY_TABLE {
    PRTL_QUERY_REGISTRY_ROUTINE QueryRoutine;
    ULONG Flags;
    PWSTR Name;
    PVOID EntryContext;
    ULONG DefaultType;
    PVOID DefaultData;
    ULONG DefaultLength;
} RTL_QUERY_REGISTRY_TABLE, *PRTL_QUERY_REGISTRY_TABLE;

/* A value under the driver's key: `Subkey` is L"" for the key itself. */
typedef struct _KM_REGISTRY_VALUE {
    PCWSTR Subkey;
    PCWSTR Name;
    ULONG Type;
    const void *Data;
    ULONG Length;
} KM_REGISTRY_VALUE;
__attribute__((weak)) const KM_REGISTRY_VALUE *KmRegistryValues;
__attribute__((weak)) SIZE_T KmRegistryCount;

/* For tests: what RtlQueryRegistryValues finds from now on. */
static inline void km_registry_set(const KM_REGISTRY_VALUE *values, SIZE_T count)
{
    KmRegistryValues = values;
    KmRegistryCount = count;
}
static inline const KM_REGISTRY_VALUE *KmRegistryFind(PCWSTR Subkey, PCWSTR Name)
{
    SIZE_T Index;

    for (Index = 0; Index < KmRegistryCount; Index++) {
        const KM_REGISTRY_VALUE *Value = &KmRegistryValues[Index];

        if (wcscmp(Value->Subkey, Subkey) == 0 && wcscmp(Value->Name, Name) == 0)
            return Value;
    }
    return NULL;
}
/* Calls the routine of each entry with its value, its default, or not at all. Values are taken from km_registry_set,
 * whatever the path is. */
static inline NTSTATUS RtlQueryRegistryValues(ULONG RelativeTo, PCWSTR Path, PRTL_QUERY_REGISTRY_TABLE Table,
                                              PVOID Context, PVOID Environment)
{
    PCWSTR Subkey = L"";

    UNREFERENCED_PARAMETER(RelativeTo);
    UNREFERENCED_PARAMETER(Path);
    UNREFERENCED_PARAMETER(Environment);
    KmAtMost(PASSIVE_LEVEL, "RtlQueryRegistryValues");
    for (; Table->QueryRoutine || Table->Name; Table++) {
        const KM_REGISTRY_VALUE *Value;
        NTSTATUS Status = STATUS_SUCCESS;

        if (Table->Flags & ~KM_REGISTRY_FLAGS)
            KmStop("RtlQueryRegistryValues", "only the flags SUBKEY, TOPKEY and REQUIRED work here");
        if (Table->Flags & RTL_QUERY_REGISTRY_TOPKEY)
            Subkey = L"";
        if (Table->Flags & RTL_QUERY_REGISTRY_SUBKEY) {
            Subkey = Table->Name;
            if (Table->QueryRoutine)
                KmStop("RtlQueryRegistryValues", "a routine for a whole subkey does not work here");
            continue;
        }
        Value = KmRegistryFind(Subkey, Table->Name);
        if (Value)
            Status = Table->QueryRoutine(Table->Name, Value->Type, (PVOID)Value->Data, Value->Length, Context,
                                         Table->EntryContext);
        else if (Table->Flags & RTL_QUERY_REGISTRY_REQUIRED)
            Status = STATUS_OBJECT_NAME_NOT_FOUND;
        else if (Table->DefaultType != REG_NONE)
            Status = Table->QueryRoutine(Table->Name, Table->DefaultType, Table->DefaultData, Table->DefaultLength,
                                         Context, Table->EntryContext);
        if (!NT_SUCCESS(Status))
            return Status;
    }
    return STATUS_SUCCESS;
}

#ifdef __cplusplus
}
#endif

#endif
