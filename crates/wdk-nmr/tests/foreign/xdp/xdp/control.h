/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What src/nmr of XDP for Windows uses of xdp/control.h and of what that includes, for a host: the types that cross the
 * interface, as ../../../../examples/xdp/interface.rs has them in Rust.
 */
#pragma once

#ifndef DECLARE_HANDLE
#define DECLARE_HANDLE(Name) typedef struct Name##__ *Name
#endif
#ifndef RTL_PTR_ADD
#define RTL_PTR_ADD(Pointer, Bytes) ((PVOID)((ULONG_PTR)(Pointer) + (ULONG_PTR)(Bytes)))
#endif

typedef struct { UINT32 Revision, Size; } XDP_OBJECT_HEADER;
typedef struct { UINT32 Major, Minor, Patch; } XDP_VERSION;
typedef struct {
    XDP_OBJECT_HEADER Header;
    UINT32 DriverApiVersionsOffset, DriverApiVersionCount;
    XDP_VERSION DdkDriverApiVersion;
    GUID InstanceId;
} XDP_CAPABILITIES_EX;

/* Only its address is used. */
typedef struct _XDP_INTERFACE_DISPATCH XDP_INTERFACE_DISPATCH;

DECLARE_HANDLE(XDP_REGISTRATION_HANDLE);
