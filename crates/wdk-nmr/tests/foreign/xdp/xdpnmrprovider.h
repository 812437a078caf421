/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What src/nmr/provider.c exports, and the types of its arguments.
 */
#pragma once

DECLARE_HANDLE(XDP_PROVIDER_HANDLE);

typedef void XDP_PROVIDER_DETACH_HANDLER(void *Context);
typedef NTSTATUS XDP_GET_INTERFACE_DISPATCH(const XDP_VERSION *Version, void *Context, void **InterfaceContext,
                                            const void **InterfaceDispatch);

NTSTATUS XdpOpenProvider(UINT32 InterfaceIndex, const GUID *ClientGuid, void *Context,
                         XDP_PROVIDER_DETACH_HANDLER *DetachHandler, void **GetInterfaceContext,
                         XDP_GET_INTERFACE_DISPATCH **GetInterfaceDispatch, XDP_PROVIDER_HANDLE *Provider);
void XdpCloseProvider(XDP_PROVIDER_HANDLE Provider);
void XdpCleanupProvider(XDP_PROVIDER_HANDLE Provider);
