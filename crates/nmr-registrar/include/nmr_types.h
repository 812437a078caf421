/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The basic Windows types and constants that NMR is declared with, for builds that have no Windows headers. netioddk.h
 * includes this file unless one that defines them has been included before.
 */
#ifndef NMR_TYPES_H
#define NMR_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
/* As the Windows headers have them, in case those are seen later. */
#define NTAPI __stdcall
typedef long LONG;
typedef unsigned long ULONG;
#else
#define NTAPI
typedef int32_t LONG;
typedef uint32_t ULONG;
#endif

typedef void VOID, *PVOID;
typedef void *HANDLE, **PHANDLE;
typedef unsigned char UCHAR, BOOLEAN;
typedef unsigned short USHORT;
typedef LONG NTSTATUS;
typedef UCHAR KIRQL;

#ifndef TRUE
#define TRUE 1
#define FALSE 0
#endif

typedef struct _GUID {
    ULONG Data1;
    USHORT Data2;
    USHORT Data3;
    UCHAR Data4[8];
} GUID;

typedef struct _LUID {
    ULONG LowPart;
    LONG HighPart;
} LUID;

#define PASSIVE_LEVEL 0
#define APC_LEVEL 1
#define DISPATCH_LEVEL 2

#define NT_SUCCESS(Status) ((NTSTATUS)(Status) >= 0)
#define STATUS_SUCCESS ((NTSTATUS)0x00000000)
#define STATUS_PENDING ((NTSTATUS)0x00000103)
#define STATUS_INVALID_PARAMETER ((NTSTATUS)0xC000000D)
#define STATUS_INSUFFICIENT_RESOURCES ((NTSTATUS)0xC000009A)
#define STATUS_NOINTERFACE ((NTSTATUS)0xC00002B9)

#endif
