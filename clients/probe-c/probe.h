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

#define PROBE_POOL_TAG 'cbrP'

/* ---- client.c ---------------------------------------------------------------------------------------------------- */

/* Registers with NMR. From inside this call on, providers are attached. PASSIVE_LEVEL; called once, last in
 * DriverEntry. Returns what NmrRegisterClient returned; unless that is STATUS_SUCCESS there is nothing to undo. */
NTSTATUS ClientRegister(VOID);

/* Detaches from all providers and returns when all of it is over. PASSIVE_LEVEL; after ClientRegister succeeded. */
VOID ClientDeregister(VOID);

/* Has packets classified by the provider that attached first. <= DISPATCH_LEVEL.
 * Returns what the provider returned, or STATUS_DEVICE_NOT_READY if there is none. */
NTSTATUS ClientClassify(const SLUICE_PACKET *Packets, UINT32 Count, SLUICE_VERDICT *Verdicts);

/* Fills in as many providers as there is Room for, the one that classifies first, and returns how many there are.
 * <= DISPATCH_LEVEL. */
UINT32 ClientListProviders(PROBE_PROVIDER *Providers, UINT32 Room);

/* ---- device.c ---------------------------------------------------------------------------------------------------- */

/* Makes the device, named like the service, for SYSTEM and administrators alone. PASSIVE_LEVEL, in DriverEntry. */
NTSTATUS DeviceCreate(DRIVER_OBJECT *DriverObject, const UNICODE_STRING *RegistryPath);

/* Deletes the device. PASSIVE_LEVEL; after DeviceCreate succeeded, when no request can be inside. */
VOID DeviceDelete(VOID);

#endif
