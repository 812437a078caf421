/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A driver in miniature: what its tests need beside DriverEntry.
 */
#include <ntddk.h>
#include <netioddk.h>

DRIVER_INITIALIZE DriverEntry;
/* The last call into the provider has returned: ends a detach that is pending. */
void DriverCallsDone(void);
/* Makes DriverCallsDone pass the registration handle, as a driver that shipped did. */
extern BOOLEAN WrongHandle;
