/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * probe-c: a client driver of Sluice in C. It attaches to every Sluice provider, and has a device through which a
 * user-mode program hands it batches of packets and gets verdicts back.
 *
 *   client.c  the NMR client: what every client driver of Sluice needs, and the part to learn from
 *   guard.h   the count of calls in progress that it needs for that
 *   device.c  the device and its two requests
 *   driver.c  DriverEntry and DriverUnload
 */
#ifndef PROBE_H
#define PROBE_H

#include <ntifs.h>
#include <netioddk.h>

#include "sluice_npi.h"

#include "probe_ioctl.h"

/* Annotations for code analysis, which other headers than the WDK's do not know. */
#ifndef _Dispatch_type_
#define _Dispatch_type_(type)
#endif
#ifndef _In_reads_bytes_
#define _In_reads_bytes_(size)
#endif
#ifndef _IRQL_requires_
#define _IRQL_requires_(irql)
#endif
#ifndef _IRQL_requires_max_
#define _IRQL_requires_max_(irql)
#endif
#ifndef _Must_inspect_result_
#define _Must_inspect_result_
#endif
#ifndef _Out_writes_to_
#define _Out_writes_to_(size, count)
#endif

#define PROBE_POOL_TAG 'cbrP'

/* ---- client.c ---------------------------------------------------------------------------------------------------- */

/* Registers with NMR. From inside this call on, providers are attached. PASSIVE_LEVEL; called once, last in
 * DriverEntry. Returns what NmrRegisterClient returned; unless that is STATUS_SUCCESS there is nothing to undo. */
_IRQL_requires_(PASSIVE_LEVEL)
_Must_inspect_result_
NTSTATUS ClientRegister(VOID);

/* Detaches from all providers and returns when all of it is over. PASSIVE_LEVEL; after ClientRegister succeeded. */
_IRQL_requires_(PASSIVE_LEVEL)
VOID ClientDeregister(VOID);

/* Has packets classified by the provider that attached first. <= DISPATCH_LEVEL.
 * Returns what the provider returned, or STATUS_DEVICE_NOT_READY if there is none. */
_IRQL_requires_max_(DISPATCH_LEVEL)
_Must_inspect_result_
NTSTATUS ClientClassify(_In_reads_(Count) const SLUICE_PACKET *Packets, UINT32 Count,
                        _Out_writes_(Count) SLUICE_VERDICT *Verdicts);

/* Fills in as many providers as there is Room for, the one that classifies first, and returns how many there are.
 * <= DISPATCH_LEVEL. */
_IRQL_requires_max_(DISPATCH_LEVEL)
UINT32 ClientListProviders(_Out_writes_to_(Room, return) PROBE_PROVIDER *Providers, UINT32 Room);

/* ---- device.c ---------------------------------------------------------------------------------------------------- */

/* Makes the device, named like the service, for SYSTEM and administrators alone. PASSIVE_LEVEL, in DriverEntry. */
_IRQL_requires_(PASSIVE_LEVEL)
_Must_inspect_result_
NTSTATUS DeviceCreate(_In_ DRIVER_OBJECT *DriverObject, _In_ const UNICODE_STRING *RegistryPath);

/* Deletes the device. PASSIVE_LEVEL; after DeviceCreate succeeded, when no request can be inside. */
_IRQL_requires_(PASSIVE_LEVEL)
VOID DeviceDelete(VOID);

#endif
