<#
.SYNOPSIS
Verifies the drivers on this machine from the first step to the last, unattended, and undoes everything.

.DESCRIPTION
For a virtual machine that may be lost: a driver that is wrong stops it. Take a snapshot first. Secure Boot has to be
off.

The machine restarts four times and more. A scheduled task goes on after each restart, as SYSTEM, so nobody has to sign
in. The stages are those of docs\test-vm.md:

  plain          the drivers alone, with test signing
  standard       Driver Verifier: standard checks, more DDI compliance (20), code integrity (26)
  isolation      Driver Verifier: driver isolation (33, 36); the first violation stops the machine. Windows 11 only
  low-resources  Driver Verifier: the standard checks, and allocations that fail at random (3)

In each, sluicectl verify loads the drivers and puts them through everything that they have to bear; gate.sys filters
the network of this machine meanwhile, by the policy of the demo. If the machine
stops, hangs or the drivers fail in a stage, that is recorded, what there is to see is collected, and the rest is left
out. At the end one zip holds reports, logs, traces and dumps, and the machine is as it was.

Run it again to go on after an interruption. Nothing is done twice.

.PARAMETER Rounds
How many rounds sluicectl verify goes in each stage.

.PARAMETER Stages
Which stages, in the order above.

.PARAMETER Client
The client driver: probe (Rust) or probe-c (C).

.PARAMETER Output
The zip. It must not exist yet.

.PARAMETER Source
The unpacked release: the folder of this script, if it is not given.

.PARAMETER TimeoutMinutes
How long a stage may take before it counts as hanging.

.PARAMETER Undo
Stops where the run is, collects what there is, and undoes everything.

.EXAMPLE
.\verify-on-windows.ps1 -WhatIf

Shows every step and changes nothing.

.EXAMPLE
.\verify-on-windows.ps1 -Rounds 20 -Stages plain, standard
#>
[CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'Medium')]
param(
    [ValidateRange(1, 100000)] [int] $Rounds = 100,
    [ValidateSet('plain', 'standard', 'isolation', 'low-resources')]
    [string[]] $Stages = @('plain', 'standard', 'isolation', 'low-resources'),
    [ValidateSet('probe', 'probe-c')] [string] $Client = 'probe',
    [string] $Output = "$env:PUBLIC\Documents\sluice-verify.zip",
    [string] $Source = $PSScriptRoot,
    [ValidateRange(5, 1440)] [int] $TimeoutMinutes = 180,
    [switch] $Undo
)

Set-StrictMode -Version 3
$ErrorActionPreference = 'Stop'

$Cmdlet = $PSCmdlet
$IsDryRun = [bool] $WhatIfPreference
$Task = 'Sluice verification'
# Only administrators can write there.
$Work = "$env:ProgramData\sluice-verify"
$Results = "$Work\results"
$StateFile = "$Work\state.json"
$CrashControl = 'HKLM:\SYSTEM\CurrentControlSet\Control\CrashControl'
$TraceProvider = '{c320867d-d802-5654-3eb1-25584902deba}'
$Drivers = @('sluice', $Client, 'gate')
$Failures = @()
$Classes = @{
    'standard' = '/ruleclasses', '1', '2', '4', '5', '6', '8', '9', '12', '18', '20', '26'
    'isolation' = '/onecheck', '/rc', '33', '36'
    'low-resources' = '/ruleclasses', '1', '2', '3', '4', '5', '6', '8', '9', '12', '18', '20', '26'
}
# Faults begin 7 or 8 minutes after the start of Windows.
$FaultDelay = New-TimeSpan -Minutes 9

# ---- Tools ----

function Write-Step([string] $Text) {
    $line = '{0:yyyy-MM-dd HH:mm:ss}  {1}' -f (Get-Date), $Text
    Write-Host $line
    if (-not $IsDryRun -and (Test-Path $Results)) { Add-Content -Path "$Results\log.txt" -Value $line -WhatIf:$false }
}

# Does what changes the machine, or only says it.
function Invoke-Change([string] $What, [scriptblock] $Do = $null) {
    if ($Cmdlet.ShouldProcess($env:COMPUTERNAME, $What)) {
        Write-Step $What
        if ($Do) { & $Do }
    }
}

# The same for what puts something back: what fails is remembered, and the rest is done all the same.
function Invoke-Undo([string] $What, [scriptblock] $Do) {
    try {
        Invoke-Change $What $Do
    } catch {
        $script:Failures += "could not ${What}: $_"
        Write-Warning $script:Failures[-1]
    }
}

# Runs a program of Windows and gives what it wrote. An exit code that is not accepted is an error that says everything.
function Invoke-Program([string] $Program, [string[]] $Arguments, [int[]] $Accept = @(0)) {
    # Windows PowerShell makes an error of every line on the second output otherwise.
    $ErrorActionPreference = 'Continue'
    $said = @(& $Program @Arguments 2>&1 | ForEach-Object { "$_" })
    $code = $LASTEXITCODE
    if ($Accept -notcontains $code) {
        $accepted = $Accept -join ' or '
        throw "$Program $($Arguments -join ' ') ended with $code, expected ${accepted}: $($said -join ' ')"
    }
    $said
}

# ---- What is remembered across restarts ----

function Read-State {
    if (Test-Path $StateFile) { Get-Content -Raw $StateFile | ConvertFrom-Json } else { $null }
}

function Save-State($State) {
    # Written beside and moved, so that a machine that stops now has the old one or the new one.
    $State | ConvertTo-Json -Depth 5 | Set-Content -Path "$StateFile.new" -Encoding UTF8
    Move-Item -Path "$StateFile.new" -Destination $StateFile -Force
}

# ---- Before anything is changed ----

function Get-Architecture {
    switch ($env:PROCESSOR_ARCHITECTURE) {
        'AMD64' { 'x64' }
        'ARM64' { 'arm64' }
        default { throw "expected an x64 or ARM64 Windows and a PowerShell of the same kind, found $_" }
    }
}

# The files of the release, and what they are called in the folder of the run.
function Get-Files {
    $arch = Get-Architecture
    $files = [ordered] @{
        'sluice.cer' = 'sluice.cer'; 'demo.pcapng' = 'demo.pcapng'; 'demo.toml' = 'demo.toml'
        'x64\sluicectl.exe' = 'sluicectl.exe'; 'verify-on-windows.ps1' = 'verify-on-windows.ps1'
    }
    foreach ($name in $Drivers) {
        $files["$arch\signed\$name.sys"] = "$name.sys"
        $files["$arch\$name.pdb"] = "$name.pdb"
    }
    $files
}

# Everything that stands in the way, in one list.
function Find-Problems {
    $identity = [Security.Principal.WindowsPrincipal] [Security.Principal.WindowsIdentity]::GetCurrent()
    if (-not $identity.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
        'expected a prompt that was run as administrator'
    }
    $build = [Environment]::OSVersion.Version.Build
    if ($build -lt 19041) { "expected Windows 10 version 2004 (build 19041) or later, found build $build" }
    try {
        if (Confirm-SecureBootUEFI) { 'expected Secure Boot to be off: Windows accepts no test signing with it' }
    } catch [PlatformNotSupportedException] {
        # A machine without UEFI has no Secure Boot.
        Write-Verbose 'no UEFI'
    } catch {
        "the state of Secure Boot cannot be read: $_"
    }
    foreach ($file in (Get-Files).Keys) {
        if (-not (Test-Path "$Source\$file")) { "$Source\$file is missing: expected the unpacked release in $Source" }
    }
    if (Test-Path "$Source\SHA256SUMS") {
        $known = @{}
        foreach ($line in Get-Content "$Source\SHA256SUMS") {
            $sum, $path = $line -split '  ', 2
            $known[$path.Replace('/', '\')] = $sum
        }
        foreach ($file in (Get-Files).Keys | Where-Object { (Test-Path "$Source\$_") -and $known.ContainsKey($_) }) {
            $sum = (Get-FileHash -Algorithm SHA256 "$Source\$file").Hash
            if ($sum -ne $known[$file]) { "$file does not have the checksum in SHA256SUMS: unpack the release again" }
        }
    }
    foreach ($name in $Drivers) {
        if (Get-Service $name -ErrorAction SilentlyContinue) {
            "there is a service $name already: remove it first (sc.exe delete $name)"
        }
    }
    if (Test-Path $Output) { "$Output exists already: move it, or give another -Output" }
}

function Assert-Ready {
    $problems = @(Find-Problems)
    if (-not $problems) { return }
    if ($IsDryRun) {
        $problems | ForEach-Object { Write-Warning $_ }
    } else {
        throw "This machine is not ready:`n  $($problems -join "`n  ")"
    }
}

# ---- Set up ----

function Test-BootOption([string] $Name) {
    [bool] ((Invoke-Program bcdedit @('/enum', '{current}')) -match "^$Name\s+Yes")
}

function New-State {
    $crash = Get-ItemProperty $CrashControl
    [pscustomobject] @{
        stages = @($Stages); next = 0; running = $false; rounds = $Rounds; client = $Client; output = $Output
        timeout = $TimeoutMinutes; outcomes = @()
        before = [pscustomobject] @{
            testSigning = Test-BootOption 'testsigning'
            crashDumpEnabled = $crash.CrashDumpEnabled
            bitLocker = [bool] (Get-Command Get-BitLockerVolume -ErrorAction SilentlyContinue) -and
                (Get-BitLockerVolume -MountPoint $env:SystemDrive).ProtectionStatus -eq 'On'
        }
    }
}

function Install-Everything {
    Invoke-Change "make $Work, for administrators and SYSTEM alone" {
        New-Item -ItemType Directory -Force $Work | Out-Null
        Invoke-Program icacls @($Work, '/inheritance:r', '/grant:r', '*S-1-5-32-544:(OI)(CI)F',
            '*S-1-5-18:(OI)(CI)F') | Out-Null
        New-Item -ItemType Directory -Force $Results | Out-Null
        $files = Get-Files
        foreach ($file in $files.Keys) { Copy-Item "$Source\$file" "$Work\$($files[$file])" -Force }
    }
    $state = $null
    if (-not $IsDryRun) {
        $state = New-State
        Save-State $state
    }
    if ($IsDryRun -or $state.before.bitLocker) {
        # 0: until Resume-BitLocker. Any number would have to be that of the restarts.
        Invoke-Change "suspend BitLocker on $env:SystemDrive, if it is on" {
            Suspend-BitLocker -MountPoint $env:SystemDrive -RebootCount 0 | Out-Null
        }
    }
    Invoke-Change 'trust the test certificate, and turn test signing on' {
        foreach ($store in 'Root', 'TrustedPublisher') {
            Invoke-Program certutil @('-f', '-addstore', $store, "$Work\sluice.cer") | Out-Null
        }
        Invoke-Program bcdedit @('/set', 'testsigning', 'on') | Out-Null
    }
    Invoke-Change 'have Windows write a kernel dump when it stops' {
        Set-ItemProperty $CrashControl -Name CrashDumpEnabled -Value 2 -Type DWord
    }
    Invoke-Change "make the scheduled task '$Task', which goes on after each restart" {
        $line = "-NoProfile -ExecutionPolicy Bypass -File `"$Work\verify-on-windows.ps1`""
        # Windows PowerShell, which every Windows has.
        $powershell = "$env:SystemRoot\System32\WindowsPowerShell\v1.0\powershell.exe"
        $action = New-ScheduledTaskAction -Execute $powershell -Argument $line
        $trigger = New-ScheduledTaskTrigger -AtStartup
        $principal = New-ScheduledTaskPrincipal -UserId 'S-1-5-18' -RunLevel Highest
        $settings = New-ScheduledTaskSettingsSet -ExecutionTimeLimit (New-TimeSpan -Days 2) -AllowStartIfOnBatteries
        Register-ScheduledTask -TaskName $Task -Action $action -Trigger $trigger -Principal $principal `
            -Settings $settings -Force | Out-Null
    }
}

function Restart-Machine([string] $Why) {
    Invoke-Change "restart: $Why" {
        Invoke-Program shutdown @('/r', '/t', '5', '/c', "Sluice verification: $Why") | Out-Null
        exit 0
    }
}

# ---- Stages ----

# Services that a stage has left when the machine stopped in it.
function Remove-Services {
    foreach ($name in 'gate', $Client, 'sluice') {
        if (Get-Service $name -ErrorAction SilentlyContinue) {
            # 1062: it does not run.
            Invoke-Program sc.exe @('stop', $name) @(0, 1062) | Out-Null
            Invoke-Program sc.exe @('delete', $name) | Out-Null
        }
    }
}

function Set-Verifier([string] $Stage) {
    # 2: it takes effect after a restart.
    Invoke-Program verifier @('/reset') @(0, 2) | Out-Null
    if ($Classes.ContainsKey($Stage)) {
        $arguments = $Classes[$Stage] + '/driver' + @($Drivers | ForEach-Object { "$_.sys" })
        Invoke-Program verifier $arguments @(0, 2) | Out-Null
    }
}

# Runs sluicectl verify; gives 'passed', or what was wrong.
function Invoke-Verification([string] $Stage) {
    if ($Stage -eq 'low-resources') {
        $up = (Get-Date) - (Get-CimInstance Win32_OperatingSystem).LastBootUpTime
        if ($up -lt $FaultDelay) { Start-Sleep -Seconds ($FaultDelay - $up).TotalSeconds }
    }
    Invoke-Program verifier @('/querysettings') @(0, 2) | Set-Content "$Results\$Stage-verifier.txt"
    $trace = "$Results\$Stage.etl"
    Invoke-Program logman @('create', 'trace', 'sluice-verify', '-p', $TraceProvider, '0x1f', '5', '-o', $trace,
        '-ets') | Out-Null
    try {
        $arguments = @('verify', '--drivers', '.', '--client', $Client, '--gate', '--capture', 'demo.pcapng',
            '--policy', 'demo.toml', '--rounds', "$Rounds")
        if ($Stage -eq 'low-resources') { $arguments += '--low-resources' }
        $process = Start-Process "$Work\sluicectl.exe" $arguments -WorkingDirectory $Work -PassThru -NoNewWindow `
            -RedirectStandardOutput "$Results\$Stage-report.txt" -RedirectStandardError "$Results\$Stage-errors.txt"
        # Without the handle there is no exit code later.
        $null = $process.Handle
        if (-not $process.WaitForExit($TimeoutMinutes * 60000)) {
            foreach ($name in $Drivers) {
                Invoke-Program sc.exe @('queryex', $name) @(0, 1060) | Add-Content "$Results\$Stage-services.txt"
            }
            return "not finished after $TimeoutMinutes minutes"
        }
        if ($process.ExitCode -ne 0) { return "sluicectl verify ended with $($process.ExitCode)" }
        'passed'
    } finally {
        Invoke-Program logman @('stop', 'sluice-verify', '-ets') @(0, -2144337918) | Out-Null
    }
}

function Add-Outcome($State, [string] $Stage, [string] $Outcome) {
    Write-Step "${Stage}: $Outcome"
    $new = [pscustomobject] @{ stage = $Stage; outcome = $Outcome }
    $State.outcomes = @($State.outcomes | Where-Object { $_ }) + $new
}

# Goes on where the run is. Restarts before each stage that needs one, and ends with Complete-Run.
function Invoke-Stages($State) {
    if ($State.running) {
        # The stage began, and this is another start of Windows.
        Add-Outcome $State $State.stages[$State.next] 'the machine stopped'
        $State.running = $false
        $State.next = $State.stages.Count
        Save-State $State
        Remove-Services
    }
    while ($State.next -lt $State.stages.Count) {
        $stage = $State.stages[$State.next]
        if ($stage -eq 'isolation' -and [Environment]::OSVersion.Version.Build -lt 22000) {
            Add-Outcome $State $stage 'not run: Driver Verifier has these checks since Windows 11'
        } else {
            $State.running = $true
            Save-State $State
            try {
                $outcome = Invoke-Verification $stage
            } catch {
                $outcome = "not run: $_"
            }
            Add-Outcome $State $stage $outcome
            $State.running = $false
            if ($outcome -ne 'passed') {
                $State.next = $State.stages.Count
                Save-State $State
                # A service that hangs cannot be removed before a restart.
                if ($outcome -like 'not finished*') { Restart-Machine 'a driver hangs' }
                break
            }
        }
        $State.next += 1
        Save-State $State
        if ($State.next -lt $State.stages.Count) {
            Set-Verifier $State.stages[$State.next]
            Restart-Machine "next stage: $($State.stages[$State.next])"
        }
    }
    Save-State $State
    Complete-Run $State
}

# ---- Collect and undo ----

function Save-Evidence {
    $guard = Get-CimInstance -Namespace root\Microsoft\Windows\DeviceGuard -ClassName Win32_DeviceGuard `
        -ErrorAction SilentlyContinue
    $running = if ($guard) { @($guard.SecurityServicesRunning) } else { @() }
    $hashes = Get-ChildItem "$Work\*.sys" | Get-FileHash -Algorithm SHA256
    @(
        "Windows:        $((Get-CimInstance Win32_OperatingSystem).Caption), $([Environment]::OSVersion.Version)"
        "Architecture:   $(Get-Architecture)"
        "Processors:     $env:NUMBER_OF_PROCESSORS"
        # Of Win32_DeviceGuard: 2 is memory integrity, 5 kernel-mode hardware-enforced stack protection.
        "HVCI:           $(if ($running -contains 2) { 'on' } else { 'off' })"
        "Kernel CET:     $(if ($running -contains 5) { 'on' } else { 'off' })"
        "sluicectl:      $(Invoke-Program "$Work\sluicectl.exe" @('--version'))"
        $hashes | ForEach-Object { "$(Split-Path -Leaf $_.Path): $($_.Hash)" }
    ) | Set-Content "$Results\machine.txt"
    $since = (Get-Item $Work).CreationTime
    Get-WinEvent -FilterHashtable @{ LogName = 'System'; StartTime = $since } -ErrorAction SilentlyContinue |
        Where-Object ProviderName -Match 'sluice|BugCheck|WER-SystemError|Service Control Manager|Kernel-Power' |
        Format-List TimeCreated, ProviderName, Id, LevelDisplayName, Message | Out-String -Width 200 |
        Set-Content "$Results\system-log.txt"
    $dumps = @("$env:SystemRoot\MEMORY.DMP") + @(Get-ChildItem "$env:SystemRoot\Minidump\*.dmp" `
        -ErrorAction SilentlyContinue | ForEach-Object FullName)
    foreach ($dump in $dumps | Where-Object { (Test-Path $_) -and (Get-Item $_).LastWriteTime -gt $since }) {
        # Compress-Archive takes no file above 2 GiB.
        if ((Get-Item $dump).Length -lt 1900000000) {
            Copy-Item $dump $Results
        } else {
            Add-Content "$Results\machine.txt" "Too large for the zip: $dump"
        }
    }
}

function Undo-Everything($State) {
    Invoke-Undo 'remove the services of the drivers' { Remove-Services }
    Invoke-Undo 'turn Driver Verifier off' { Invoke-Program verifier @('/reset') @(0, 2) | Out-Null }
    Invoke-Undo "remove the scheduled task '$Task'" {
        Unregister-ScheduledTask -TaskName $Task -Confirm:$false -ErrorAction SilentlyContinue
    }
    Invoke-Undo 'put test signing, the certificates and the kind of dump back as they were' {
        if ($State -and -not $State.before.testSigning) {
            Invoke-Program bcdedit @('/set', 'testsigning', 'off') | Out-Null
        }
        foreach ($store in 'Root', 'TrustedPublisher') {
            Get-ChildItem "Cert:\LocalMachine\$store" | Where-Object Subject -EQ 'CN=Sluice test certificate' |
                Remove-Item
        }
        if ($State) {
            Set-ItemProperty $CrashControl -Name CrashDumpEnabled -Value $State.before.crashDumpEnabled -Type DWord
        }
    }
    if ($IsDryRun -or ($State -and $State.before.bitLocker)) {
        Invoke-Undo "resume BitLocker on $env:SystemDrive, if it was on" {
            Resume-BitLocker -MountPoint $env:SystemDrive | Out-Null
        }
    }
}

# Collects, undoes, packs, and restarts so that all of it takes effect.
function Complete-Run($State) {
    $zip = if ($State) { $State.output } else { $Output }
    if ($State -or $IsDryRun) {
        try {
            Invoke-Change 'collect what there is to see' { Save-Evidence }
        } catch {
            # What is there goes into the zip all the same.
            Write-Step "not everything could be collected: $_"
        }
    }
    Undo-Everything $State
    if ($State -or $IsDryRun) {
        Invoke-Undo "pack the results into $zip" {
            $State | ConvertTo-Json -Depth 5 | Set-Content "$Results\outcome.json" -Encoding UTF8
            Compress-Archive -Path "$Results\*" -DestinationPath $zip -Force
        }
    }
    if ($script:Failures) {
        $list = $script:Failures -join "`n  "
        throw "Not everything could be undone:`n  $list`nRun it again with -Undo. $Work stays until then."
    }
    if ($IsDryRun -or (Test-Path $Work)) {
        Invoke-Change "remove $Work" {
            Set-Location "$env:SystemDrive\"
            Remove-Item -Recurse -Force $Work
        }
    }
    if ($State) {
        foreach ($outcome in $State.outcomes) { Write-Host ('{0,-14} {1}' -f $outcome.stage, $outcome.outcome) }
        Write-Host "The results are in $zip."
    }
    if ($State -or $IsDryRun) { Restart-Machine 'everything is undone' }
}

# ---- The run ----

$alone = New-Object Threading.Mutex($false, 'Global\sluice-verify')
if (-not $alone.WaitOne(0)) { throw "the scheduled task '$Task' is at work: wait for the restart, or for $Output" }

$state = Read-State
if ($state) {
    # What was asked for when it began.
    $Rounds, $Client, $TimeoutMinutes = $state.rounds, $state.client, $state.timeout
    $Drivers = @('sluice', $Client, 'gate')
}
if ($Undo) {
    Complete-Run $state
} elseif ($IsDryRun) {
    Assert-Ready
    Install-Everything
    Restart-Machine 'test signing takes effect'
    foreach ($stage in $Stages) {
        if ($Classes.ContainsKey($stage)) {
            Invoke-Change "verifier $($Classes[$stage] -join ' ') /driver sluice.sys $Client.sys gate.sys, and restart"
        }
        Invoke-Change "stage ${stage}: sluicectl verify, $Rounds rounds with $Client"
    }
    Complete-Run $null
} elseif ($state) {
    Invoke-Stages $state
} else {
    Assert-Ready
    try {
        Install-Everything
    } catch {
        throw "$_`nRun it again with -Undo, which puts back what was changed."
    }
    # The first stage may be one with Driver Verifier.
    Set-Verifier $Stages[0]
    Restart-Machine 'test signing takes effect'
}
