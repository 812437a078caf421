/*
 * What the ntddk.h of a current WDK declares and that of mingw-w64 does not.
 *
 * Found before the original, which it includes. Declarations follow the documentation of the functions
 * (learn.microsoft.com/windows-hardware/drivers/ddi).
 */
#pragma once

/*
 * On x64 the original defines these inline, for Windows versions whose kernel did not export them.
 * Bindings cannot be made for inline functions: rename the originals and declare the exports.
 */
#define KeGetCurrentIrql mingw_inline_KeGetCurrentIrql
#include_next <ntddk.h>
#undef KeGetCurrentIrql
NTKERNELAPI KIRQL NTAPI KeGetCurrentIrql(VOID);

/* Pools, wdm.h, Windows 10 version 2004. The flags are macros that bindgen cannot read; wdk-sys brings its own. */
typedef ULONG64 POOL_FLAGS;

NTKERNELAPI PVOID NTAPI ExAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag);
